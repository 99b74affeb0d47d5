// What the page holds and shows. The requests are in api.js.

import * as api from "./api.js";
import { cutOut } from "./align.js";
import { takePicture } from "./camera.js";
import * as transfer from "./transfer.js";

const at = (id) => document.getElementById(id);
const SAMPLES = 6;

let model = null;
let source = null; // {photo: {image, aligned}, face: {image, aligned: true}, width, height}
let expression = null;
let results = new Map(); // expression -> its result, at `shownIntensity`
let last = null; // what "Try again" does
let abort = new AbortController();

const intensity = () => Number(at("intensity").value);
const view = () => document.querySelector("[name=view]:checked").value;
const say = (text) => { at("status").textContent = text; };

/** Show a blob in an image; the address that it had before is given back. */
function show(image, blob) {
  const old = image.src;
  image.src = URL.createObjectURL(blob);
  if (old.startsWith("blob:")) URL.revokeObjectURL(old);
}

/** Do something that may fail: its fault is shown as a sentence, with a way to do it again. */
async function attempt(action) {
  last = action;
  try {
    await action();
    if (action !== last) return; // the fault is of a newer one
    at("fault").textContent = "";
    at("again").hidden = at("key-form").hidden = true;
  } catch (error) {
    if (error.name === "AbortError") return;
    if (!(error instanceof api.Fault)) console.error(error);
    const sentence = error instanceof api.Fault ? error.message : "The page met a fault of its own. Load it again.";
    at("fault").textContent = sentence;
    say("");
    const locked = error.status === 401;
    at("key-form").hidden = !locked;
    at("again").hidden = locked || [400, 413, 415, 422].includes(error.status);
    if (locked) at("key").focus();
  } finally {
    at("stage").classList.remove("busy");
  }
}

async function learnModel() {
  if (model) return;
  model = await api.model();
  const version = model.version ? ` version ${model.version}` : "";
  at("model").textContent = `${model.name}${version}, ${model.image_size} pixels.`;
  showSamples();
  if (model.transfer) transfer.begin({ source: () => source, attempt, show, say }, model.transfer);
}

function showSamples() {
  at("samples").replaceChildren(...Array.from({ length: SAMPLES }, (_, person) => {
    const button = document.createElement("button");
    const url = `page/samples/${person}.png?size=${model.image_size}`;
    const image = Object.assign(new Image(), { src: url, alt: `Sample face ${person + 1}` });
    button.type = "button";
    button.append(image);
    button.onclick = () => attempt(async () => open(await api.sample(url), true));
    const item = document.createElement("li");
    item.append(button);
    return item;
  }));
}

/** Take a picture: find its face and show every expression, in one request. */
async function open(image, aligned) {
  abort.abort();
  abort = new AbortController();
  const { signal } = abort;
  await learnModel();
  show(at("photo"), image);
  at("found").hidden = false;
  at("box").hidden = true;
  at("drop-hint").hidden = true;
  at("found-text").textContent = "Looking for the face …";
  say("Looking for the face.");
  let answer, bitmap;
  try {
    answer = await api.all({ image, aligned }, intensity(), signal);
    bitmap = await createImageBitmap(image).catch(() => null);
    if (!bitmap) throw new api.Fault("This browser cannot show that kind of picture. Choose a JPEG, PNG or WebP file.", 415);
  } catch (error) {
    if (error.name !== "AbortError") {
      at("found-text").textContent = "No result for this picture.";
      source = null;
      at("work").hidden = true;
      at("empty").hidden = false;
    }
    throw error;
  }
  const face = aligned ? image : await cutOut(bitmap, answer.face.landmarks, model.image_size);
  source = {
    photo: { image, aligned }, face: { image: face, aligned: true }, width: bitmap.width, height: bitmap.height,
  };
  at("views").disabled = aligned;
  if (aligned) document.querySelector("[value=face]").checked = true;
  at("found-text").textContent = aligned ? "A sample face" : "The face that was found";
  showBox(answer.face.box, !aligned);
  expression = model.expressions.includes(expression)
    ? expression : model.expressions.find((name) => name === "happy") ?? model.expressions[0];
  at("empty").hidden = true;
  at("work").hidden = false;
  await take(answer);
  await showView(signal);
  await transfer.carry();
}

function showBox([x0, y0, x1, y1], visible) {
  const share = (value, whole) => `${(Math.min(Math.max(value / whole, 0), 1) * 100).toFixed(2)}%`;
  const { width, height } = source;
  Object.assign(at("box").style, {
    left: share(x0, width), top: share(y0, height), width: share(x1 - x0, width), height: share(y1 - y0, height),
  });
  at("box").hidden = !visible;
}

/** Keep an answer with all expressions and fill the grid with it. */
async function take(answer) {
  results = new Map(answer.results.map((result) => [result.expression, result]));
  const grid = at("grid");
  if (grid.children.length !== results.size) {
    grid.replaceChildren(...[...results.keys()].map((name) => {
      const button = Object.assign(document.createElement("button"), { type: "button" });
      button.dataset.expression = name;
      button.append(Object.assign(new Image(), { alt: "" }), Object.assign(document.createElement("span"), { textContent: name }));
      button.onclick = () => attempt(() => choose(name));
      const item = document.createElement("li");
      item.append(button);
      return item;
    }));
  }
  for (const button of grid.querySelectorAll("button")) {
    show(button.querySelector("img"), await api.png(results.get(button.dataset.expression).image));
  }
}

async function choose(name) {
  expression = name;
  await showView(abort.signal);
}

/** Before and after of the chosen expression and view. */
async function showView(signal) {
  for (const button of at("grid").querySelectorAll("button")) {
    button.setAttribute("aria-pressed", String(button.dataset.expression === expression));
  }
  const whole = view() === "photo";
  show(at("before"), (whole ? source.photo : source.face).image);
  if (whole) {
    at("stage").classList.add("busy");
    showAfter(await api.one(source.photo, expression, intensity(), "photo", signal));
  } else {
    showAfter(await api.png(results.get(expression).image));
  }
  at("stage").dataset.view = view();
  const { identity_similarity: same, expression_confidence: sure, natural } = results.get(expression);
  at("check").textContent = same === null ? "" :
    `The server's own check: likeness to the person ${same.toFixed(2)} of 1, ${expression} ${Math.round(sure * 100)} %${api.natural(natural)}.`;
  say(`Shown: ${expression}, intensity ${intensity().toFixed(2)}.`);
}

function showAfter(blob) {
  show(at("after"), blob);
  at("after").alt = `After: ${expression}, generated`;
  at("download").href = at("after").src;
  at("download").download = `visage-${expression}-${intensity().toFixed(2)}-generated.png`;
}

// The slider follows the hand: one request at a time, and then the newest value, so that no answer is waited for in vain.
let following = false;
async function follow() {
  if (following) return;
  following = true;
  try {
    for (let asked = null; source && asked !== intensity(); ) {
      asked = intensity();
      const picture = view() === "photo" ? source.photo : source.face;
      showAfter(await api.one(picture, expression, asked, view(), abort.signal));
    }
  } finally {
    following = false;
  }
}

/** Once the hand rests: the whole grid at this intensity, in one request. */
async function settle() {
  abort.abort();
  abort = new AbortController();
  const { signal } = abort;
  await take(await api.all(source.face, intensity(), signal));
  await showView(signal);
}

at("intensity").addEventListener("input", () => {
  at("intensity-value").textContent = intensity().toFixed(2);
  if (source) attempt(follow);
});
at("intensity").addEventListener("change", () => source && attempt(settle));
at("views").addEventListener("change", () => attempt(() => showView(abort.signal)));
at("compare").addEventListener("input", ({ target }) => {
  at("stage").style.setProperty("--cut", `${target.value}%`);
  target.setAttribute("aria-valuetext", `${target.value} % before`);
});
at("file").addEventListener("change", ({ target }) => {
  const [file] = target.files;
  if (file) attempt(() => open(file, false));
  target.value = ""; // so that the same file can be chosen again
});
at("camera").addEventListener("click", () => attempt(async () => {
  const picture = await takePicture();
  if (picture) attempt(() => open(picture, false));
}));
at("again").addEventListener("click", () => attempt(last));
at("key-form").addEventListener("submit", (event) => {
  event.preventDefault();
  api.setKey(at("key").value.trim());
  at("key").value = "";
  attempt(last);
});
addEventListener("dragover", (event) => {
  event.preventDefault();
  at("drop").classList.add("over");
});
addEventListener("dragleave", () => at("drop").classList.remove("over"));
addEventListener("drop", (event) => {
  event.preventDefault();
  at("drop").classList.remove("over");
  const [file] = event.dataTransfer.files;
  if (file) attempt(() => open(file, false));
});

attempt(learnModel);
