// The two figures of a study: the curves of its trials, and what was sought against one another.

import { CHOSEN, Chart, colour, dot, figure, line, span } from "./chart.js";

const NEAR = 24, LETTERS = 12; // pixels: around the pointer, and of a line of text
const at = (id) => document.getElementById(id);

/** curves: what a trial reached, a map from its number to [images, score] points; study(), chosen(), and
 * revision(), 0 before the curves were first read: as they are now. */
export function drawFigures({ study, curves, revision, chosen, choose }) {
  let pointed = { curves: null, front: null };
  const of = (number) => study().byNumber.get(number);
  const hue = (number) => colour(`c${[...chosen()].indexOf(number) % CHOSEN}`);

  const said = (trial) => `Trial ${trial.number}, ${trial.state}${trial.score === null ? "" : `, score ${trial.score.toFixed(4)}`}`;

  const lines = new Chart(at("curves"), {
    extent() {
      const scores = [];
      for (const curve of curves.values()) for (const [, score] of curve) scores.push(score);
      return { x: [0, study().images], y: span(scores), across: "training images", up: "score" };
    },
    paint(pen) {
      const { context } = pen;
      context.save();
      context.setLineDash([5, 5]);
      context.strokeStyle = colour("field");
      for (const rung of study().rungs) line(context, [[pen.x(rung), pen.top], [pen.x(rung), pen.bottom]]);
      context.restore();
      context.lineWidth = 1;
      // All that ended in one stroke: a thousand lines cost what one does.
      const ended = new Path2D(), runs = new Path2D();
      for (const [number, curve] of curves) {
        if (chosen().has(number)) continue;
        const state = of(number)?.state, path = state === "running" ? runs : ended;
        curve.forEach(([images, score], index) => path[index ? "lineTo" : "moveTo"](pen.x(images), pen.y(score)));
      }
      context.strokeStyle = colour("field");
      context.globalAlpha = curves.size > 100 ? 0.35 : 0.7;
      context.stroke(ended);
      context.globalAlpha = 1;
      context.strokeStyle = colour("text");
      context.setLineDash([2, 3]);
      context.stroke(runs);
      context.setLineDash([]);
      context.lineWidth = 2.5;
      context.textAlign = "left";
      context.textBaseline = "middle";
      const ends = [];
      for (const number of new Set([...chosen(), ...(pointed.curves === null ? [] : [pointed.curves])])) {
        const curve = curves.get(number);
        if (!curve?.length) continue;
        context.strokeStyle = context.fillStyle = chosen().has(number) ? hue(number) : colour("text");
        const points = curve.map(([images, score]) => [pen.x(images), pen.y(score)]);
        line(context, points);
        const [x, y] = points.at(-1);
        dot(context, x, y, 3.5);
        ends.push({ number, x, y, fill: context.fillStyle });
      }
      let above = -LETTERS;
      for (const { number, x, y, fill } of ends.sort((one, other) => one.y - other.y)) {
        above = Math.max(y, above + LETTERS); // so that no number lies on another
        context.fillStyle = fill;
        context.fillText(String(number), x + 6, above);
      }
    },
    near(pen, x, y) {
      let best = NEAR ** 2, found = null, point = null;
      if (pen) {
        for (const [number, curve] of curves) {
          for (const [images, score] of curve) {
            const distance = (pen.x(images) - x) ** 2 + (pen.y(score) - y) ** 2;
            if (distance < best) [best, found, point] = [distance, number, [images, score]];
          }
        }
      }
      if (found !== pointed.curves) {
        pointed.curves = found;
        lines.draw();
      }
      at("curves-text").textContent = found === null ? resting() : `${said(of(found) ?? { number: found, state: "", score: null })}: ${figure(point[1])} after ${point[0]} images. A click chooses it.`;
    },
    choose: () => pointed.curves !== null && choose(pointed.curves),
  });

  const resting = () => {
    const found = study(), read = curves.size;
    if (!revision()) return "Reading the curves …";
    const rungs = found.rungs.length ? ` Poor trials are stopped at ${found.rungs.join(", ")} images.` : "";
    return `${read} of ${found.trials.length} trials have a curve.${rungs}`;
  };

  // With one objective there is no front: the score of each trial in its turn, and the best so far.
  const sought = () => {
    const [across, up] = Object.keys(study().objectives);
    if (up) return { across, up, x: (trial) => trial.values[across], y: (trial) => trial.values[up] };
    return { across: "trial", up: "score", x: (trial) => trial.number, y: (trial) => trial.score ?? undefined };
  };
  const shown = () => {
    const { x, y } = sought();
    return study().trials.filter((trial) => trial.state === "complete" && x(trial) !== undefined && y(trial) !== undefined);
  };
  const points = new Chart(at("front"), {
    extent() {
      const { across, up, x, y } = sought(), trials = shown();
      return { x: span(trials.map(x)), y: span(trials.map(y)), across: across.replaceAll("_", " "), up: up.replaceAll("_", " ") };
    },
    paint(pen) {
      const { context } = pen, { up, x, y } = sought(), trials = shown();
      context.fillStyle = colour("field");
      for (const trial of trials) dot(context, pen.x(x(trial)), pen.y(y(trial)), 3);
      const front = trials.filter((trial) => trial.front).sort((one, other) => x(one) - x(other));
      context.strokeStyle = context.fillStyle = colour("accent");
      context.lineWidth = 1.5;
      if (up === "score") {
        let best = -Infinity;
        const steps = [];
        for (const trial of [...trials].sort((one, other) => one.number - other.number)) {
          if (y(trial) <= best) continue;
          if (steps.length) steps.push([pen.x(x(trial)), pen.y(best)]);
          best = y(trial);
          steps.push([pen.x(x(trial)), pen.y(best)]);
        }
        line(context, steps);
      } else {
        line(context, front.map((trial) => [pen.x(x(trial)), pen.y(y(trial))]));
        for (const trial of front) dot(context, pen.x(x(trial)), pen.y(y(trial)), 4.5);
      }
      context.textAlign = "left";
      context.textBaseline = "bottom";
      for (const trial of trials) {
        if (!chosen().has(trial.number) && pointed.front !== trial.number) continue;
        context.fillStyle = chosen().has(trial.number) ? hue(trial.number) : colour("text");
        dot(context, pen.x(x(trial)), pen.y(y(trial)), 6);
        context.fillText(String(trial.number), pen.x(x(trial)) + 7, pen.y(y(trial)) - 3);
      }
    },
    near(pen, px, py) {
      const { x, y } = sought();
      let best = NEAR ** 2, found = null;
      for (const trial of pen ? shown() : []) {
        const distance = (pen.x(x(trial)) - px) ** 2 + (pen.y(y(trial)) - py) ** 2;
        if (distance < best) [best, found] = [distance, trial];
      }
      if ((found?.number ?? null) !== pointed.front) {
        pointed.front = found?.number ?? null;
        points.draw();
      }
      const values = found && Object.entries(found.values).map(([name, value]) => `${name.replaceAll("_", " ")} ${figure(value)}`);
      at("front-text").textContent = found ? `${said(found)}: ${values.join(", ")}. A click chooses it.` : still();
    },
    choose: () => pointed.front !== null && choose(pointed.front),
  });

  const still = () => {
    const found = study(), front = found.trials.filter((trial) => trial.front).map((trial) => trial.number);
    const more = Object.keys(found.objectives).length > 2 ? " The first two objectives are drawn; the front is of all." : "";
    if (!sought().up || sought().up === "score") return "The line is the best score so far.";
    return front.length ? `On the Pareto front, as none is better in all: trial${front.length > 1 ? "s" : ""} ${front.join(", ")}.${more}` : "No trial is complete yet.";
  };

  return () => {
    lines.draw();
    points.draw();
    if (pointed.curves === null) at("curves-text").textContent = resting();
    if (pointed.front === null) at("front-text").textContent = still();
    at("front-title").textContent = Object.keys(study().objectives).length > 1 ? "What was sought, against one another" : "The best score so far";
  };
}
