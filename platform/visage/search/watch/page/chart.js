// Figures on a canvas, without a library: axes with round numbers, lines and points in the page's colours.

const EDGE = { left: 46, right: 34, top: 24, bottom: 34 };
const scheme = matchMedia("(prefers-color-scheme: dark)");
const probe = getComputedStyle(document.documentElement);
export const CHOSEN = 6; // colours, in turn
export const colour = (name) => probe.getPropertyValue(`--${name}`).trim();

/** Round numbers between low and high, about `count` of them. */
function ticks(low, high, count) {
  const rough = (high - low) / count, unit = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((each) => each * unit).find((each) => each >= rough);
  const found = [];
  for (let at = Math.ceil(low / step) * step; at <= high + step / 1e6; at += step) found.push(at);
  return found;
}

export const figure = (value) => {
  if (value === null || value === undefined) return "";
  if (typeof value !== "number") return String(value);
  return Number.isInteger(value) ? String(value) : String(Number(value.toPrecision(4)));
};

/** The least and the most of some numbers, with a little room; something of a size where they are all the same. */
export function span(values) {
  let low = Infinity, high = -Infinity;
  for (const value of values) {
    if (value < low) low = value;
    if (value > high) high = value;
  }
  if (low > high) return [0, 1];
  const room = (high - low) * 0.05 || Math.abs(high) * 0.05 || 0.5;
  return [low - room, high + room];
}

/**
 * A figure that draws itself when told to, when its size changes and when the colours do.
 * paint(pen): with pen.context, pen.x(value), pen.y(value); extent() gives {x: [low, high], y: [low, high], across, up}.
 * near(pen, x, y): what is shown for the pointer, called once a frame; chosen(): a click.
 */
export class Chart {
  constructor(canvas, { extent, paint, near, choose }) {
    Object.assign(this, { canvas, extent, paint });
    this.asked = 0;
    new ResizeObserver(() => this.draw()).observe(canvas);
    scheme.addEventListener("change", () => this.draw());
    let at = null, waiting = false;
    canvas.addEventListener("pointermove", (event) => {
      at = [event.offsetX, event.offsetY];
      if (waiting) return;
      waiting = true;
      requestAnimationFrame(() => {
        waiting = false;
        if (this.pen) near(this.pen, ...at);
      });
    });
    canvas.addEventListener("pointerleave", () => near(null));
    canvas.addEventListener("click", choose);
  }

  draw() {
    if (this.asked) return;
    this.asked = requestAnimationFrame(() => {
      this.asked = 0;
      this.now();
    });
  }

  now() {
    const { canvas } = this, width = canvas.clientWidth, height = canvas.clientHeight, ratio = devicePixelRatio || 1;
    if (!width || !height) return;
    if (canvas.width !== Math.round(width * ratio) || canvas.height !== Math.round(height * ratio)) {
      canvas.width = Math.round(width * ratio);
      canvas.height = Math.round(height * ratio);
    }
    const context = canvas.getContext("2d"), { x: [x0, x1], y: [y0, y1], across, up } = this.extent();
    const wide = width - EDGE.left - EDGE.right, high = height - EDGE.top - EDGE.bottom;
    const pen = {
      context, width, height,
      x: (value) => EDGE.left + ((value - x0) / (x1 - x0)) * wide,
      y: (value) => EDGE.top + (1 - (value - y0) / (y1 - y0)) * high,
      top: EDGE.top, bottom: EDGE.top + high,
    };
    context.setTransform(ratio, 0, 0, ratio, 0, 0);
    context.clearRect(0, 0, width, height);
    context.font = "12px system-ui, Liberation Sans, sans-serif";
    context.lineWidth = 1;
    context.strokeStyle = colour("line");
    context.fillStyle = colour("soft");
    context.textAlign = "right";
    context.textBaseline = "middle";
    for (const value of ticks(y0, y1, high / 45)) {
      context.fillText(figure(value), EDGE.left - 6, pen.y(value));
      line(context, [[EDGE.left, pen.y(value)], [EDGE.left + wide, pen.y(value)]]);
    }
    context.textAlign = "center";
    context.textBaseline = "top";
    for (const value of ticks(x0, x1, wide / 80)) context.fillText(figure(value), pen.x(value), pen.bottom + 4);
    context.textAlign = "right";
    context.fillText(across, EDGE.left + wide, pen.bottom + 18);
    context.textAlign = "left";
    context.textBaseline = "top";
    context.fillText(up, 8, 6);
    context.save();
    this.paint(pen);
    context.restore();
    this.pen = pen;
  }
}

export function line(context, points) {
  context.beginPath();
  points.forEach(([x, y], at) => (at ? context.lineTo(x, y) : context.moveTo(x, y)));
  context.stroke();
}

export function dot(context, x, y, radius) {
  context.beginPath();
  context.arc(x, y, radius, 0, 2 * Math.PI);
  context.fill();
}
