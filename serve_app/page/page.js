// What the page holds and shows. The requests are in api.js.

import * as api from "./api.js";
import { cutOut } from "./align.js";
import { takePicture } from "./camera.js";
import * as transfer from "./transfer.js";

const at = (id) => document.getElementById(id);
const SAMPLES = 6;
const STEPS = 6; // pictures of the strip

let model = null;
let source = null; // {photo: {image, aligned, face}, face: {image, aligned: true}, width, height}
let expression = null;
let results = new Map(); // expression -> its result, at `shownIntensity`
let last = null; // what "Try again" does
let abort = new AbortController();

const intensity = () => Number(at("intensity").value);
const mixed = () => at("mix-with").value !== "" && Number(at("mix").value) > 0;
const named = () => (mixed() ? `${expression} with ${at("mix-with").value}` : expression);

/** What is asked for now, as the endpoint's fields. */
function asked() {
  if (!mixed()) return { expression, intensity: intensity() };
  return { mix: JSON.stringify({ [expression]: intensity(), [at("mix-with").value]: Number(at("mix").value) }) };
}
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
  at("model").textContent = `${[model, model.transfer].filter(Boolean).map(described).join("; ")}.`;
  showSamples();
  if (model.transfer) transfer.begin({ source: () => source, attempt, show, say }, model.transfer);
}

function described({ name, version, image_size }) {
  return `${name}${version ? ` version ${version}` : ""}, ${image_size} pixels`;
}

function showSamples() {
  if (model.samples) at("samples-text").textContent = "Each sample face is the average of five people's: nobody looks like this.";
  at("samples").replaceChildren(...Array.from({ length: SAMPLES }, (_, person) => {
    const button = document.createElement("button");
    const url = `page/samples/${person}.png?${new URLSearchParams({ size: model.image_size, of: model.version ?? "" })}`;
    const image = Object.assign(new Image(), { src: url, alt: `Sample face ${person + 1}` });
    button.type = "button";
    button.append(image);
    button.onclick = () => attempt(async () => open(await api.sample(url), true));
    const item = document.createElement("li");
    item.append(button);
    return item;
  }));
}

/** Take a picture: find its face and show every expression, in one request. face: which of several, from the left. */
async function open(image, aligned, face = null) {
  abort.abort();
  abort = new AbortController();
  const { signal } = abort;
  await learnModel();
  show(at("photo"), image);
  at("found").hidden = false;
  at("box").hidden = true;
  at("drop-hint").hidden = true;
  if (!face) showChoice([]);
  at("found-text").textContent = "Looking for the face …";
  say("Looking for the face.");
  const photo = { image, aligned, face };
  let answer, bitmap;
  try {
    answer = await api.all(photo, intensity(), signal);
    bitmap = await createImageBitmap(image).catch(() => null);
    if (!bitmap) throw new api.Fault("This browser cannot show that kind of picture. Choose a JPEG, PNG or WebP file.", 415);
  } catch (error) {
    if (error.faces && (bitmap = await createImageBitmap(image).catch(() => null))) {
      source = null;
      at("work").hidden = true;
      at("empty").textContent = "Choose one of the faces.";
      at("empty").hidden = false;
      showChoice(error.faces, bitmap, image);
      return;
    }
    if (error.name !== "AbortError") {
      at("found-text").textContent = "No result for this picture.";
      source = null;
      at("work").hidden = true;
      at("empty").textContent = "Choose a picture to begin.";
      at("empty").hidden = false;
    }
    throw error;
  }
  const cut = aligned ? image : await cutOut(bitmap, answer.face.landmarks, model.image_size);
  source = { photo, face: { image: cut, aligned: true }, width: bitmap.width, height: bitmap.height };
  at("views").disabled = aligned;
  if (aligned) document.querySelector("[value=face]").checked = true;
  at("found-text").textContent = aligned ? "A sample face" : face ? "The face that you chose" : "The face that was found";
  place(at("box"), answer.face.box, source);
  at("box").hidden = aligned || Boolean(face);
  expression = model.expressions.includes(expression)
    ? expression : model.expressions.find((name) => name === "happy") ?? model.expressions[0];
  showMix();
  at("empty").hidden = true;
  at("work").hidden = false;
  await take(answer);
  await showView(signal);
  await transfer.carry();
}

/** Lay something over the photograph where a face is. */
function place(element, [x0, y0, x1, y1], { width, height }) {
  const share = (value, whole) => `${(Math.min(Math.max(value / whole, 0), 1) * 100).toFixed(2)}%`;
  Object.assign(element.style, {
    left: share(x0, width), top: share(y0, height), width: share(x1 - x0, width), height: share(y1 - y0, height),
  });
}

/** The faces of a photograph with several, to choose one; without any the choice goes away. */
function showChoice(faces, bitmap, image) {
  for (const old of at("framed").querySelectorAll("button")) old.remove();
  const buttons = faces.map(({ box }, index) => {
    const button = Object.assign(document.createElement("button"), { type: "button", className: "box", textContent: index + 1 });
    button.setAttribute("aria-label", `Face ${index + 1} of ${faces.length}, from the left`);
    place(button, box, bitmap);
    button.onclick = () => {
      for (const other of buttons) other.setAttribute("aria-pressed", String(other === button));
      attempt(() => open(image, false, index + 1));
    };
    return button;
  });
  at("framed").append(...buttons);
  if (faces.length) at("found-text").textContent = `${faces.length} faces were found. Choose one.`;
  if (faces.length) say(at("found-text").textContent);
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
  showMix();
  await showView(abort.signal);
}

/** Before and after of the chosen expression and view. */
async function showView(signal) {
  for (const button of at("grid").querySelectorAll("button")) {
    button.setAttribute("aria-pressed", String(button.dataset.expression === expression));
  }
  const whole = view() === "photo";
  show(at("before"), (whole ? source.photo : source.face).image);
  if (whole || mixed()) at("stage").classList.add("busy");
  const result = mixed() ? await api.checked(source.face, asked(), signal) : results.get(expression);
  showAfter(whole ? await api.file(source.photo, asked(), "photo", "png", signal) : await api.png(result.image));
  at("stage").dataset.view = view();
  at("stage").classList.remove("busy");
  const { identity_similarity: same, expression_confidence: sure, natural } = result;
  const seen = sure === null ? "" : `, ${expression} ${Math.round(sure * 100)} %`;
  at("check").textContent = same === null ? "" :
    `The server's own check: likeness to the person ${same.toFixed(2)} of 1${seen}${api.natural(natural)}.`;
  say(`Shown: ${named()}, intensity ${intensity().toFixed(2)}.`);
  showStrip(signal); // beside what was asked for, which waits for none of it
}

/** The way from the face at rest to what is asked for, of one expression. */
async function showStrip(signal) {
  const strip = at("strip");
  strip.hidden = mixed();
  at("strip-text").textContent = mixed() ? "Of a mixture the animation shows it." : "";
  if (mixed()) return;
  try {
    await fillStrip(strip, signal);
  } catch (error) {
    if (error.name === "AbortError") return;
    strip.hidden = true;
    at("strip-text").textContent = error instanceof api.Fault ? error.message : "The pictures could not be shown.";
  }
}

async function fillStrip(strip, signal) {
  const found = await api.levels(source.face, expression, Array.from({ length: STEPS }, (_, step) => (intensity() * step) / (STEPS - 1)), signal);
  while (strip.children.length > found.length) strip.lastChild.remove(); // the same intensity twice comes once
  while (strip.children.length < found.length) {
    const item = document.createElement("li");
    item.append(new Image(), document.createElement("span"));
    strip.append(item);
  }
  for (const [step, { image, intensity: level }] of found.entries()) {
    const [picture, words] = strip.children[step].children;
    show(picture, await api.png(image));
    picture.alt = `${expression}, intensity ${level.toFixed(2)}`;
    words.textContent = level.toFixed(2);
  }
}

/** The second expression and how much of it there may be: together at most what one may have. */
function showMix() {
  const second = at("mix-with").value;
  const others = model.expressions.filter((name) => name !== "neutral" && name !== expression);
  at("mix-with").replaceChildren(...["", ...others].map((name) => Object.assign(document.createElement("option"), { value: name, textContent: name || "nothing" })));
  at("mix-with").value = others.includes(second) ? second : "";
  at("mix-part").hidden = !others.length;
  at("mix").max = Math.max(0, 1.5 - intensity()).toFixed(2);
  at("mix").disabled = at("mix-with").value === "" || intensity() >= 1.5;
  at("mix-value").textContent = at("mix").disabled ? "0.00" : Number(at("mix").value).toFixed(2);
  if (at("mix-with").value === "") at("mix").value = 0;
}

function showAfter(blob) {
  show(at("after"), blob);
  at("after").alt = `After: ${named()}, generated`;
  at("download").href = at("after").src;
  at("download").download = fileName("png");
}

const fileName = (ending) => `visage-${named().replaceAll(" ", "-")}-${intensity().toFixed(2)}-generated.${ending}`;

async function downloadAnimation() {
  at("animation").disabled = true;
  try {
    const picture = view() === "photo" ? source.photo : source.face;
    const link = document.createElement("a"), name = fileName("webp");
    link.href = URL.createObjectURL(await api.file(picture, asked(), view(), "webp", abort.signal));
    link.download = name;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 60_000); // a browser may still be reading it
    say(`Downloaded: ${name}.`);
  } finally {
    at("animation").disabled = false;
  }
}

// The slider follows the hand: one request at a time, and then the newest value, so that no answer is waited for in vain.
let following = false;
async function follow() {
  if (following) return;
  following = true;
  try {
    for (let last = null; source && last !== JSON.stringify(asked()); ) {
      last = JSON.stringify(asked());
      const picture = view() === "photo" ? source.photo : source.face;
      showAfter(await api.file(picture, asked(), view(), "png", abort.signal));
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

/** Once the hand rests on the second slider, whose grid stays as it is. */
async function settleMix() {
  abort.abort();
  abort = new AbortController();
  await showView(abort.signal);
}

at("intensity").addEventListener("input", () => {
  at("intensity-value").textContent = intensity().toFixed(2);
  if (source) showMix();
  if (source) attempt(follow);
});
at("intensity").addEventListener("change", () => source && attempt(settle));
at("mix-with").addEventListener("change", () => {
  if (at("mix-with").value !== "" && !Number(at("mix").value)) at("mix").value = 0.5; // or what its largest allows
  showMix();
  if (source) attempt(settleMix);
});
at("mix").addEventListener("input", () => {
  at("mix-value").textContent = Number(at("mix").value).toFixed(2);
  if (source) attempt(follow);
});
at("mix").addEventListener("change", () => source && attempt(settleMix));
at("animation").addEventListener("click", () => attempt(downloadAnimation));
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
