/** Two pictures on top of each other, and a slider between them. */
import { fill, h } from "./dom.js";

/** @typedef {Pick<Picture, "url" | "label">} Shown */

/**
 * Compare a picture with one of the others.
 * @param {Shown} picture
 * @param {Shown[]} others
 * @param {() => void} close
 */
export function showCompare(picture, others, close) {
  const stack = h("div.stack");
  const choose = h(
    "select",
    { "aria-label": "Compare with" },
    others.map(({ label }) => h("option", {}, label)),
  );
  const draw = () => fill(stack, pair(picture, others[choose.selectedIndex]));
  choose.addEventListener("change", draw);
  draw();
  return h(
    "div.compare",
    {},
    stack,
    h(
      "div.row",
      {},
      h("label.inline", {}, "Left: ", choose),
      h("span.hint", {}, `right: ${picture.label}`),
      h("button.quiet", { type: "button", onclick: close }, "Done"),
    ),
  );
}

/**
 * @param {Shown} right
 * @param {Shown} left
 */
function pair(right, left) {
  const slider = h("input", {
    type: "range",
    min: 0,
    max: 100,
    value: 50,
    step: 0.5,
    "aria-label": "How much of the left picture is shown",
  });
  const over = h("img.over", { src: left.url, alt: `Left: ${left.label}` });
  const frame = h(
    "div.plate.pair",
    {},
    h("img", { src: right.url, alt: `Right: ${right.label}` }),
    over,
    h("span.edge", { "aria-hidden": "true" }),
    slider,
  );
  slider.addEventListener("input", () => frame.style.setProperty("--cut", `${slider.value}%`));
  return frame;
}
