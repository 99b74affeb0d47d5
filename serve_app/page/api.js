// The endpoint as the page sees it. Every fault becomes a Fault: one sentence to show, and its HTTP status (0: none).

export class Fault extends Error {
  constructor(sentence, status = 0, faces = null) {
    super(sentence);
    this.status = status;
    this.faces = faces; // where they are, of a picture with several
  }
}

const KEY = "visage-key";
export const setKey = (key) => sessionStorage.setItem(KEY, key);

async function send(path, options = {}) {
  const key = sessionStorage.getItem(KEY);
  const headers = { ...options.headers, ...(key && { Authorization: `Bearer ${key}` }) };
  let answer;
  try {
    answer = await fetch(path, { ...options, headers });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Fault("The server cannot be reached. Check the connection and that it still runs, then try again.");
  }
  if (answer.ok) return answer;
  const problem = await answer.json().catch(() => ({}));
  throw new Fault(sentence(answer, problem), answer.status, problem.faces);
}

function sentence(answer, problem) {
  if (answer.status === 401) return "This server asks for an API key. Enter yours to go on.";
  if (!problem.detail) return `The server answered with fault ${answer.status}. Try again in a moment.`;
  const wait = Number(answer.headers.get("Retry-After"));
  return problem.detail + (answer.status === 429 && wait ? ` Try again in ${wait} s.` : "");
}

export const model = async () => (await send("v1/model")).json();
export const sample = async (url) => (await send(url)).blob();

function form({ image, aligned, face }, fields) {
  const data = new FormData();
  if (face) data.append("face", String(face));
  data.append("image", image, "image");
  data.append("aligned", String(aligned));
  for (const [name, value] of Object.entries(fields)) data.append(name, value);
  return data;
}

const post = async (path, body, signal) => (await send(path, { method: "POST", body, signal })).json();

/** All expressions of a picture {image, aligned, face} in one request: the endpoint's JSON answer. */
export const all = (picture, intensity, signal) => post("v1/expressions", form(picture, { intensity }), signal);

/** What is asked for, {expression, intensity} or {mix}, as one picture: the endpoint's JSON answer's only result. */
export const checked = async (picture, asked, signal) => (await post("v1/expressions", form(picture, asked), signal)).results[0];

/** An expression of a picture at several intensities: the results of the endpoint's JSON answer. */
export async function levels(picture, expression, intensities, signal) {
  const body = form(picture, { expression });
  for (const intensity of intensities) body.append("intensity", intensity.toFixed(3));
  return (await post("v1/expressions", body, signal)).results;
}

/** What is asked for, as a file: png, or webp for an animation that leads there. */
export async function file(picture, asked, view, format, signal) {
  const body = form(picture, { ...asked, view, format });
  return (await send("v1/expressions", { method: "POST", body, signal, headers: { Accept: `image/${format}` } })).blob();
}

/** An aligned face with the expression of another one: the endpoint's JSON answer. */
export async function transfer(face, driver, signal) {
  const body = form({ image: face, aligned: true }, {});
  body.append("driver", driver, "driver");
  return post("v1/transfer", body, signal);
}

/** An aligned face with action units {FACS number: 0 to 1}: the endpoint's JSON answer. */
export const told = (face, units, signal) =>
  post("v1/transfer", form({ image: face, aligned: true }, { au: JSON.stringify(units) }), signal);

export const png = async (base64) => new Blob([Uint8Array.from(atob(base64), (c) => c.charCodeAt(0))], { type: "image/png" });

/** What an answer's check says of the mouth, to end a sentence with; nothing of a model without that check. */
export function natural(value) {
  if (value === null) return "";
  return value < 0.5 ? "; mouth or chin look damaged" : `, natural ${Math.round(value * 100)} %`;
}
