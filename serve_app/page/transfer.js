// The second tab: the expression of another face on the chosen one.

import * as api from "./api.js";
import { cutOut } from "./align.js";

const at = (id) => document.getElementById(id);
const SHOWN = ["happy", "surprise", "sad", "anger", "fear", "disgust"]; // by the sample faces

let page = null; // what page.js lends: {source, attempt, show, say}
let size = 0; // of the model's faces; 0 where the server has none
let driver = null; // an aligned face
let abort = new AbortController();

const chosen = () => document.querySelector("[name=tab]:checked").value === "transfer";

/** lent: see `page`. model: the server's model of transfers. */
export function begin(lent, model) {
  page = lent;
  size = model.image_size;
  at("tabs").hidden = false;
  at("drivers").replaceChildren(...SHOWN.map((expression, place) => {
    const url = `page/samples/${(place + 3) % SHOWN.length}.png?size=${size}&expression=${expression}`;
    const button = Object.assign(document.createElement("button"), { type: "button" });
    button.append(Object.assign(new Image(), { src: url, alt: `Sample face, ${expression}` }));
    button.onclick = () => page.attempt(async () => take(await api.sample(url)));
    const item = document.createElement("li");
    item.append(button);
    return item;
  }));
  showTab();
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
  await carry();
}

/** Show source, driver and result, as far as they are there. */
export async function carry() {
  if (!size || !chosen()) return;
  abort.abort();
  abort = new AbortController();
  const { signal } = abort;
  const source = page.source();
  at("transfer-empty").hidden = Boolean(source);
  at("transfer-work").hidden = !source;
  at("transfer-result").hidden = at("transfer-download").hidden = true;
  at("transfer-check").textContent = "";
  if (!source) return;
  page.show(at("transfer-source"), source.face.image);
  if (!driver) return;
  page.show(at("transfer-driver"), driver);
  at("transfer-driver").hidden = false;
  const { results: [{ image, identity_similarity: same }] } = await api.transfer(source.face.image, driver, signal);
  page.show(at("transfer-result"), await api.png(image));
  at("transfer-check").textContent = same === null ? "" :
    `The server's own check: likeness to the person ${same.toFixed(2)} of 1.`;
  at("transfer-download").href = at("transfer-result").src;
  at("transfer-result").hidden = at("transfer-download").hidden = false;
  page.say("Shown: your picture with the expression of the other face.");
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
