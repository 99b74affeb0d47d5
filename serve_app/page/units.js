// The sliders of action units: what they stand at, and which of them somebody has moved.

const at = (id) => document.getElementById(id);
const NAMES = new Map([ // of all those that a model may know, the ones that are easiest to see
  [1, "Inner brows up"], [2, "Outer brows up"], [4, "Brows together"], [5, "Eyes wide"], [6, "Cheeks up"],
  [9, "Nose wrinkled"], [12, "Smile"], [15, "Mouth corners down"], [17, "Chin up"], [26, "Jaw open"],
]);

let moved = {}; // FACS number -> 0 to 1

export const told = () => ({ ...moved });
export const any = () => Object.keys(moved).length > 0;

/** Make the sliders of those that the model knows. changed: called when somebody moves one, or takes that back. */
export function begin(known, changed) {
  const shown = [...NAMES].filter(([unit]) => known.includes(unit));
  at("units-part").hidden = !shown.length;
  at("units").replaceChildren(...shown.map(([unit, name]) => {
    const part = document.createElement("div");
    const label = Object.assign(document.createElement("label"), { htmlFor: `unit-${unit}` });
    const value = Object.assign(document.createElement("output"), { id: `unit-${unit}-value` });
    const slider = Object.assign(document.createElement("input"), {
      id: `unit-${unit}`, type: "range", min: 0, max: 1, step: 0.05, value: 0,
    });
    const words = Object.assign(document.createElement("span"), { textContent: name });
    words.append(" ", Object.assign(document.createElement("small"), { textContent: `AU ${unit}` }));
    label.append(words, value);
    slider.addEventListener("input", () => {
      moved[unit] = slider.valueAsNumber;
      value.textContent = slider.valueAsNumber.toFixed(2);
      at("units-reset").disabled = false;
      changed();
    });
    part.append(label, slider);
    return part;
  }));
  at("units-reset").onclick = () => {
    forget();
    changed();
  };
}

/** Nothing is moved any more. */
export function forget() {
  moved = {};
  at("units-reset").disabled = true;
}

/** Put the sliders that nobody has moved where the model reads the picture. read: FACS number -> 0 to 1. */
export function place(read) {
  for (const slider of at("units").querySelectorAll("input")) {
    const unit = slider.id.replace("unit-", "");
    if (unit in moved || !(unit in read)) continue;
    slider.value = read[unit];
    at(`${slider.id}-value`).textContent = slider.valueAsNumber.toFixed(2);
  }
}
