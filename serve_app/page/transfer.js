// The second tab: the expression of another face on the chosen one, or action units in its place.

import * as api from "./api.js";
import { cutOut } from "./align.js";
import * as units from "./units.js";

const at = (id) => document.getElementById(id);
const SHOWN = ["happy", "surprise", "sad", "anger", "fear", "disgust"]; // by the sample faces

let page = null; // what page.js lends: {source, attempt, show, say}
let size = 0; // of the model's faces; 0 where the server has none
let tells = false; // whether the model takes action units
let driver = null; // an aligned face
let read = {}; // the action units that the model reads in `readIn`, a source's face
let readIn = null;
let abort = new AbortController();

const chosen = () => document.querySelector("[name=tab]:checked").value === "transfer";

/** lent: see `page`. model: the server's model of transfers. */
export function begin(lent, model) {
  page = lent;
  size = model.image_size;
  tells = model.action_units.length > 0;
  at("tabs").hidden = false;
  at("drivers").replaceChildren(...SHOWN.map((expression, place) => {
    const url = `page/samples/${(place + 3) % SHOWN.length}.png?${new URLSearchParams({ size, expression, of: model.version ?? "" })}`;
    const button = Object.assign(document.createElement("button"), { type: "button" });
    button.append(Object.assign(new Image(), { src: url, alt: `Sample face, ${expression}` }));
    button.onclick = () => page.attempt(async () => take(await api.sample(url)));
    const item = document.createElement("li");
    item.append(button);
    return item;
  }));
  units.begin(model.action_units, () => {
    if (driver) renew(); // or its answer, when it comes late, would be shown over that of the sliders
    driver = null;
    page.attempt(units.any() ? follow : carry);
  });
  showTab();
}

/** Ask from here on, and wait for no answer to what was asked before. */
function renew() {
  abort.abort();
  abort = new AbortController();
}

function showTab() {
  at("result").hidden = chosen();
  at("transfer").hidden = !chosen();
}

/** Take a photograph as the driver: the server says where its face is. */
async function open(image) {
  const bitmap = await createImageBitmap(image).catch(() => null);
  if (!bitmap) throw new api.Fault("This browser cannot show that kind of picture. Choose a JPEG, PNG or WebP file.", 415);
  page.say("Looking for the face.");
  const { face } = await api.all({ image, aligned: false }, 1);
  await take(await cutOut(bitmap, face.landmarks, size));
}

async function take(face) {
  driver = face;
  units.forget();
  await carry();
}

/** Show source, driver and result, as far as they are there. */
export async function carry() {
  if (!size || !chosen()) return;
  renew();
  const { signal } = abort;
  const source = page.source();
  at("transfer-empty").hidden = Boolean(source);
  at("transfer-work").hidden = !source;
  at("transfer-result").hidden = at("transfer-download").hidden = true;
  at("transfer-check").textContent = "";
  if (!source) return;
  page.show(at("transfer-source"), source.face.image);
  at("transfer-driver").hidden = !driver;
  if (driver) page.show(at("transfer-driver"), driver);
  if (tells && readIn !== source) {
    ({ results: [{ read }] } = await api.told(source.face.image, {}, signal));
    readIn = source;
  }
  units.place(read);
  if (driver) await showResult(await api.transfer(source.face.image, driver, signal), "of the other face");
  else if (units.any()) await follow();
}

async function showResult({ results: [{ image, identity_similarity: same, natural }] }, whose) {
  page.show(at("transfer-result"), await api.png(image));
  at("transfer-check").textContent = same === null ? "" :
    `The server's own check: likeness to the person ${same.toFixed(2)} of 1${api.natural(natural)}.`;
  at("transfer-download").href = at("transfer-result").src;
  at("transfer-result").hidden = at("transfer-download").hidden = false;
  page.say(`Shown: your picture with the expression ${whose}.`);
}

// The sliders follow the hand: one request at a time, and then the newest values.
let following = null; // the signal under which it does
async function follow() {
  at("transfer-driver").hidden = true;
  const { signal } = abort;
  if (following === signal) return;
  following = signal;
  try {
    for (let asked = null; !signal.aborted && units.any() && asked !== JSON.stringify(units.told()); ) {
      asked = JSON.stringify(units.told());
      await showResult(await api.told(page.source().face.image, units.told(), signal), "that the sliders say");
    }
  } finally {
    if (following === signal) following = null;
  }
}

at("tabs").addEventListener("change", () => {
  showTab();
  page.attempt(carry);
});
at("driver-file").addEventListener("change", ({ target }) => {
  const [file] = target.files;
  if (file) page.attempt(() => open(file));
  target.value = ""; // so that the same file can be chosen again
});
