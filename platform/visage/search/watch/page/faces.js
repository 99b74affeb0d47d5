// The faces of the chosen trials side by side: the same people, after the same images.

import * as api from "./api.js";
import { CHOSEN } from "./chart.js";

const at = (id) => document.getElementById(id);
const shown = new Map(); // trial -> the parts of its figure
let pictures = new Map(), asked = false; // trial -> images at which it has a picture
let wanted = null; // images that were chosen by hand

function figureOf(number) {
  if (shown.has(number)) return shown.get(number);
  const item = document.createElement("li"), figure = document.createElement("figure"), link = document.createElement("a");
  const image = new Image(), caption = document.createElement("figcaption");
  const swatch = Object.assign(document.createElement("span"), { className: "swatch" }), words = document.createElement("span");
  const repeat = document.createElement("code");
  Object.assign(image, { loading: "lazy", decoding: "async" });
  Object.assign(link, { target: "_blank", rel: "noopener" });
  caption.append(swatch, words, document.createElement("br"), repeat);
  link.append(image);
  figure.append(link, caption);
  item.append(figure);
  shown.set(number, { item, link, image, swatch, words, repeat });
  return shown.get(number);
}

/** The number of images at which most of the trials have a picture, the latest of those. */
function usual(counts) {
  let best = null;
  for (const [images, count] of counts) if (best === null || count > counts.get(best) || (count === counts.get(best) && images > best)) best = images;
  return best;
}

export function showFaces(study, chosen) {
  const counts = new Map();
  for (const number of chosen) for (const images of pictures.get(number) ?? []) counts.set(images, (counts.get(images) ?? 0) + 1);
  const now = counts.has(wanted) ? wanted : usual(counts);
  at("at-row").hidden = now === null;
  at("faces-text").textContent = now !== null
    ? "People that no training saw, the same in every picture. A picture opens in its full size; below it is the command that repeats the trial."
    : !asked ? "Reading the faces …" : chosen.size ? "The chosen trials have no picture yet." : "Choose trials in the table, or by a click on a curve.";
  if (document.activeElement !== at("at")) {
    const options = [...counts].sort(([one], [other]) => other - one).map(([images, count]) => Object.assign(document.createElement("option"), { value: images, textContent: `${images} (${count} of ${chosen.size} trials)` }));
    at("at").replaceChildren(...options);
    if (now !== null) at("at").value = now;
  }
  const items = [...chosen].map((number, place) => {
    const { item, link, image, swatch, words, repeat } = figureOf(number), there = pictures.get(number)?.includes(now) ?? false;
    const trial = study.byNumber.get(number), score = trial?.score === null || !trial ? "" : `, score ${trial.score.toFixed(4)}`;
    swatch.style.background = `var(--c${place % CHOSEN})`;
    words.textContent = `Trial ${number}${score}${there || now === null ? "" : `: no picture after ${now} images`}`;
    repeat.textContent = trial?.repeat ?? "";
    link.hidden = !there;
    const address = there ? api.face(number, now) : "";
    if (there && image.getAttribute("src") !== address) {
      image.src = link.href = address;
      image.alt = `Faces of trial ${number} after ${now} images`;
    }
    return item;
  });
  const list = at("faces");
  if (items.length !== list.children.length || items.some((item, place) => item !== list.children[place])) list.replaceChildren(...items);
}

export async function readPictures(chosen) {
  pictures = chosen.size ? new Map(Object.entries((await api.pictures([...chosen])).pictures).map(([number, images]) => [Number(number), images])) : new Map();
  asked = true;
}

export function onImages(show) {
  at("at").onchange = ({ target }) => {
    wanted = Number(target.value);
    show();
  };
}
