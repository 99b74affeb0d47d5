// What the page asks of its server. Every fault becomes one sentence.

export class Fault extends Error {}

const name = new URLSearchParams(location.search).get("study");
export const study = name;

async function ask(path, fields = {}, options = {}) {
  const asked = new URLSearchParams(fields);
  let answer;
  try {
    answer = await fetch(`${path}?${asked}`, options);
  } catch {
    throw new Fault("The page's server cannot be reached: `visage study --web` has ended or the connection is cut.");
  }
  if (answer.ok || answer.status === 304) return answer;
  if (answer.status === 401 || answer.status === 421) throw new Fault(await answer.text());
  const found = await answer.json().catch(() => ({}));
  throw new Fault(found.fault ?? `The page's server answered with fault ${answer.status}.`);
}

const read = async (path, fields) => (await ask(path, fields)).json();

let tag = null;

/** The study's document; null where it is what it was. */
export async function look() {
  const answer = await ask("study", { name }, tag ? { headers: { "If-None-Match": tag }, cache: "no-store" } : { cache: "no-store" });
  if (answer.status === 304) return null;
  tag = answer.headers.get("ETag");
  return answer.json();
}

export const names = () => read("studies");
export const curves = (since) => read("curves", { name, since });
export const pictures = (trials) => read("pictures", { name, trials: trials.join(",") });
export const face = (trial, images) => `face?${new URLSearchParams({ name, trial, images })}`;
export const seeds = () => read("seeds", { name });
export const lineage = () => read("lineage", { name });

/** Two faces to choose from, a picture of them, and what was chosen. */
export const pair = () => read("pair", { name });
export const part = (key, which) => `pair/${which}?${new URLSearchParams({ key })}`;
export const choose = async (chosen) => (await ask("choice", {}, { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(chosen) })).json();
