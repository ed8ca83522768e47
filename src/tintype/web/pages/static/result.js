/** A finished request on the stage: its images, of which one is chosen, and below them what that one is. */
import { createAbout } from "./about-image.js";
import { fill, h, tellRatio } from "./dom.js";
import { shown } from "./image-view.js";
import { ofRequest, one } from "./images.js";
import { nameFor } from "./models.js";
import { local } from "./paths.js";
import { imagesOf } from "./plates.js";
import { inLines } from "./refusal.js";

/**
 * The view of a finished plate: its `element`.
 * @param {Model} model
 * @param {Plate} plate
 * @param {ImageActs} acts
 */
export function showResult(model, plate, acts) {
  const made = imagesOf(model, plate);
  const below = h("div.below-images");
  let place = 0;
  /** @type {ReturnType<typeof createAbout> | null} */
  let about = null;
  const choose = (/** @type {number} */ at) => {
    place = at;
    for (const [other, figure] of figures.entries()) figure.press(other === at);
    about = createAbout(model, made, place, figures[place].gone(), { ...acts, reload });
    fill(below, about.element);
  };
  const figures = made.map((image, at) =>
    createFigure(image, nameFor(model, "prompt"), made.length, {
      choose: () => choose(at),
      // What it says of an image that is gone is another thing than of one that is there.
      lost: () => {
        image.file.gone = true;
        acts.lost(plate);
        if (at === place) choose(at);
      },
    }),
  );
  /** What the server has of them now: cached images would be shown long after they are gone. */
  const reload = async () => {
    const files = await ofRequest(plate.runs[0].request ?? "");
    for (const [at, { file }] of made.entries()) {
      const now = files.find(({ name }) => name === file.name);
      if (now) Object.assign(file, now);
      else await figures[at].lose();
    }
    about?.update();
  };
  choose(0);
  reload().catch((error) => about?.update(/** @type {Error} */ (error).message));
  const plates = h(
    "div.plates",
    { "data-count": made.length },
    figures.map(({ element }) => element),
  );
  return { element: h("div.result", {}, plates, below) };
}

/**
 * One of the images, with the button that chooses it where there are several.
 * @param {MadeImage} image
 * @param {string} prompt the parameter's name
 * @param {number} count
 * @param {{choose: () => void, lost: () => void}} acts
 */
function createFigure({ file, values }, prompt, count, { choose, lost }) {
  let gone = false;
  const lose = () => {
    gone = true;
    lost();
  };
  const image = shown(file, String(values[prompt] || "The image"), { gone: lose });
  tellRatio(image);
  const single = count === 1;
  const frame = single
    ? h("a", { href: local(file.url), target: "_blank", title: "Open at its full size" }, image)
    : h("div.chooses", { onclick: choose }, image);
  const pick = h("button.pick", { type: "button", onclick: choose }, `seed ${file.seed}`);
  return {
    element: h("figure.plate", {}, frame, single ? null : h("figcaption", {}, pick)),
    gone: () => gone,
    /** @param {boolean} chosen */
    press: (chosen) => pick.setAttribute("aria-pressed", String(chosen)),
    /** Say in its place that it is gone, and why. */
    async lose() {
      if (gone) return;
      const error = /** @type {Refusal} */ (await one(file.name).catch((error) => error));
      fill(frame, h("div.gone", { role: "status" }, inLines(error)));
      frame.removeAttribute("href");
      lose();
    },
  };
}
