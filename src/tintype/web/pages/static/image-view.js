/** How an image is shown, and what stands in its place once its file is gone. */
import { fill, h } from "./dom.js";
import { why } from "./images.js";
import { local } from "./paths.js";
import { inLines } from "./refusal.js";

/**
 * An `<img>`, in whose place it is said, once its file turns out to be gone, why that is and what to do.
 * @param {ImageFile} image
 * @param {string} alt
 * @param {{brief?: boolean, lazy?: boolean, gone?: () => void}} how `brief`: one word, for thumbnails; `gone` is called
 *   when it is
 */
export function shown(image, alt, how = {}) {
  const { width, height } = image;
  const loading = how.lazy ? "lazy" : null;
  const img = h("img", {
    alt,
    width: width || null,
    height: height || null,
    loading,
    decoding: "async",
    src: local(image.url),
  });
  img.addEventListener("error", async () => {
    const place = how.brief ? goneMark() : h("div.gone", { role: "status" });
    img.replaceWith(place);
    if (how.brief) return how.gone?.();
    const error = await why(image);
    const over = error.status === 404;
    if (over) how.gone?.();
    const retry = () => place.replaceWith(shown(image, alt, how));
    fill(place, inLines(error), over ? null : h("button.quiet", { type: "button", onclick: retry }, "Try again"));
  });
  return img;
}

/** What stands in the place of a thumbnail whose image is gone. */
export const goneMark = () =>
  h("span.gone-mark", { title: "This image was deleted, or its time was over. Its seed makes it again." }, "gone");
