// Two faces side by side: shown, chosen from, the next ones. Which model made which is not known here.

import * as api from "./api.js";

const at = (id) => document.getElementById(id);
const KEYS = { 1: ["better", "left"], 2: ["better", "same"], 3: ["better", "right"], 4: ["person", "left"], 5: ["person", "both"], 6: ["person", "right"], 7: ["person", "neither"] };
const NAME = "visage-eyes-who";
let pair = null;

const told = (count) => `${count} ${count === 1 ? "choice is" : "choices are"} kept so far.`;

/** Show pictures of a pair when all of them are there, so that no face stands beside another pair's. */
async function show(found) {
  const parts = ["person", "left", "right", ...(found.driver ? ["driver"] : [])];
  await Promise.all(parts.map(async (part) => {
    const image = at(part);
    image.src = api.part(found.key, part);
    await image.decode().catch(() => { throw new api.Fault("A picture could not be read; ask for other faces."); });
  }));
  at("driver-part").hidden = !found.driver;
  at("person").alt = "the person, as photographed";
  at("left").alt = `left: the person, asked for ${found.asked}`;
  at("right").alt = `right: the person, asked for ${found.asked}`;
  at("driver").alt = `whose expression was asked for: ${found.asked}`;
  at("task").textContent = `Asked for: ${found.asked}.`;
  at("faces").hidden = false;
}

async function attempt(work) {
  at("questions").disabled = at("skip").disabled = true;
  try {
    await work();
    at("fault").textContent = "";
  } catch (fault) {
    if (!(fault instanceof api.Fault)) throw fault;
    at("fault").textContent = fault.message;
  }
  at("questions").disabled = pair === null;
  at("skip").disabled = false;
}

async function next() {
  const found = await api.pair();
  await show(found);
  for (const input of document.querySelectorAll(".question input")) input.checked = false;
  pair = found;
  at("count").textContent = told(found.choices);
}

at("form").onsubmit = (event) => {
  event.preventDefault();
  if (at("questions").disabled) return;
  const chosen = new FormData(at("form"));
  localStorage.setItem(NAME, at("who").value);
  attempt(async () => {
    await api.choose({ key: pair.key, better: chosen.get("better"), person: chosen.get("person"), who: at("who").value.trim() });
    await next();
  }).then(() => at("form").querySelector("[name=better]").focus());
};
at("skip").onclick = () => attempt(next);
document.addEventListener("keydown", (event) => {
  if (event.target === at("who") || event.ctrlKey || event.altKey || event.metaKey || at("questions").disabled) return;
  const [name, value] = KEYS[event.key] ?? [];
  if (name) at("form").querySelector(`[name=${name}][value=${value}]`).checked = true;
  else if (event.key === "Enter" && event.target.type === "radio") at("form").requestSubmit();
  else return;
  event.preventDefault();
});

at("title").textContent = api.study ?? "";
at("who").value = localStorage.getItem(NAME) ?? "";
attempt(next);
