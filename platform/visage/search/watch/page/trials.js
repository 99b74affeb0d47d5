// The table of trials: sorted, shown a page at a time, chosen by a tick.

import { figure } from "./chart.js";

const at = (id) => document.getElementById(id);
const PAGE = 50; // rows that stand in the document: a browser lays a table out as a whole

export function tabulate({ study, curves, chosen, choose }) {
  let order = { key: "rank", down: false }, first = 0, ending = "";
  let columns = [], said = "";
  const rows = new Map(); // number -> {line, told: what its cells say}

  const make = (tag, content, properties = {}) => Object.assign(document.createElement(tag), { ...properties }, content === undefined ? {} : { textContent: content });

  function learn() {
    const found = study();
    const now = [
      { key: "number", title: "trial", of: (trial) => trial.number },
      { key: "state", title: "ending", of: (trial) => trial.state, text: true },
      { key: "rank", title: "rank", of: (trial) => trial.rank },
      { key: "score", title: "score", of: (trial) => trial.score },
      ...(found.trials.some((trial) => trial.preference !== null) ? [{ key: "preference", title: "preference", of: (trial) => trial.preference }] : []),
      ...Object.keys(found.objectives).filter((name) => name !== "score" && name !== "preference").map((name) => ({ key: `value ${name}`, title: name.replaceAll("_", " "), of: (trial) => trial.values[name] })),
      ...found.settings.map(({ path }) => ({ key: `param ${path}`, title: path, of: (trial) => trial.params[path] })),
      { key: "images", title: "images", of: (trial) => trial.images || curves.get(trial.number)?.at(-1)?.[0] || null },
      { key: "seconds", title: "seconds", of: (trial) => trial.seconds && Math.round(trial.seconds) },
      { key: "reason", title: "why", of: (trial) => trial.reason, text: true },
    ];
    if (JSON.stringify(now.map(({ title }) => title)) === said) return;
    said = JSON.stringify(now.map(({ title }) => title));
    columns = now;
    rows.clear();
    const first = make("th");
    first.scope = "col";
    first.append(make("span", "chosen", { className: "unseen" }));
    at("headings").replaceChildren(first, ...columns.map((column) => {
      const head = make("th", undefined, { scope: "col", className: column.text ? "" : "number" });
      const button = make("button", column.title, { type: "button" });
      button.onclick = () => {
        order = { key: column.key, down: order.key === column.key ? !order.down : !column.text && !["rank", "number"].includes(column.key) };
        turn(0);
      };
      head.append(button);
      return head;
    }));
  }

  function sorted() {
    const column = columns.find(({ key }) => key === order.key) ?? columns[2];
    const found = study().trials.filter((trial) => !ending || trial.state === ending);
    const none = (value) => value === null || value === undefined || value === "";
    return found.map((trial, place) => [column.of(trial), place, trial]).sort(([one, first], [other, second]) => {
      if (none(one) || none(other)) return none(one) - none(other) || first - second; // what has no value stands last
      const way = one < other ? -1 : one > other ? 1 : 0;
      return (order.down ? -way : way) || first - second;
    }).map(([, , trial]) => trial);
  }

  function row(trial) {
    const cells = columns.map((column) => (column.text ? column.of(trial) : figure(column.of(trial))));
    const told = JSON.stringify([cells, trial.front]);
    let found = rows.get(trial.number);
    if (!found) {
      const line = document.createElement("tr"), tick = make("input", undefined, { type: "checkbox" });
      tick.setAttribute("aria-label", `Choose trial ${trial.number}`);
      tick.onchange = () => choose(trial.number);
      const label = document.createElement("label");
      label.append(tick);
      line.append(document.createElement("td"), ...columns.map((column, index) => make(index ? "td" : "th", undefined, { className: column.text ? (column.key === "reason" ? "why" : "") : "number", scope: index ? "" : "row" })));
      line.firstChild.append(label);
      rows.set(trial.number, found = { line, tick, told: "" });
    }
    if (found.told !== told) {
      found.told = told;
      cells.forEach((text, index) => {
        const cell = found.line.children[index + 1], shown = index || !trial.front ? text : `${text} *`;
        if (cell.textContent !== shown) cell.textContent = shown;
      });
      if (trial.front) found.line.children[1].title = "on the Pareto front";
    }
    found.tick.checked = chosen().has(trial.number);
    found.line.classList.toggle("chosen", found.tick.checked);
    return found.line;
  }

  function show() {
    learn();
    const found = sorted(), body = at("rows");
    first = Math.max(0, Math.min(first, Math.floor((found.length - 1) / PAGE) * PAGE));
    const lines = found.slice(first, first + PAGE).map(row);
    if (lines.length !== body.children.length || lines.some((line, place) => line !== body.children[place])) {
      const focused = document.activeElement;
      body.replaceChildren(...lines);
      if (body.contains(focused)) focused.focus({ preventScroll: true });
    }
    [...at("headings").children].slice(1).forEach((head, place) => {
      const own = columns[place].key === order.key;
      if (own) head.setAttribute("aria-sort", order.down ? "descending" : "ascending");
      else head.removeAttribute("aria-sort");
    });
    at("pages").hidden = found.length <= PAGE;
    at("page-text").textContent = `${first + 1} to ${first + lines.length} of ${found.length}`;
    at("before").disabled = first === 0;
    at("after").disabled = first + PAGE >= found.length;
    at("trials-title").textContent = ending ? `Trials that are ${ending}: ${found.length}` : `Trials: ${found.length}`;
    const held = document.activeElement === at("ending");
    if (!held) {
      const counts = Object.entries(study().counts).filter(([, count]) => count);
      const options = [["", "all"], ...counts.map(([state, count]) => [state, `${state} (${count})`])];
      at("ending").replaceChildren(...options.map(([value, text]) => make("option", text, { value })));
      at("ending").value = ending;
    }
  }

  const turn = (to) => {
    const focused = document.activeElement;
    first = to;
    show();
    if (focused.disabled) at(focused.id === "after" ? "before" : "after").focus(); // at the end a key still leads back
  };
  at("before").onclick = () => turn(first - PAGE);
  at("after").onclick = () => turn(first + PAGE);
  at("ending").onchange = ({ target }) => {
    ending = target.value;
    turn(0);
  };
  return show;
}
