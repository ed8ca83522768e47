/** Two pictures on top of each other, and a slider between them. */
import { fill, h } from "./dom.js";

/** Compare a picture with one of the others; `others` are pictures with `url` and `label`. */
export function showCompare(picture, others, close) {
  const stack = h("div.stack");
  const choose = h(
    "select",
    { "aria-label": "Compare with", onchange: () => draw(others[choose.selectedIndex]) },
    others.map(({ label }) => h("option", {}, label)),
  );
  const draw = (other) => fill(stack, pair(picture, other));
  draw(others[0]);
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
