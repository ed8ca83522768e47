/** What can be done with a finished image: again, otherwise, as input, next to another, by a link. */
import { copied } from "./clipboard.js";
import { offered, showCompare } from "./compare.js";
import { RANDOM } from "./controls/seed.js";
import { toAddress } from "./link.js";
import { named, nameFor } from "./models.js";
import { local, preview } from "./paths.js";

/**
 * The acts on the images of a plate.
 * @param {Bench} bench
 * @param {object} stage
 * @param {() => MadeImage[]} stage.all the finished images of the shelf
 * @param {(element: HTMLElement) => void} stage.put puts something else on the stage
 * @param {() => void} stage.back has it back
 * @param {(plate: Plate) => void} stage.lost told that files of a plate are gone
 * @returns {ImageActs}
 */
export function actsOn(bench, { all, put, back, lost }) {
  const seed = nameFor(bench.model, "seed");
  const [field, count] = ["image", "count"].map((means) => named(bench.model, means)?.name);
  /**
   * The image that one was made from, if this page can show it.
   * @param {MadeImage} image
   */
  const inputOf = ({ file, values }) => preview(String(file.input_url ?? (field && values[field]) ?? ""));
  /**
   * @param {MadeImage} image
   * @param {boolean} input whether to begin with the image that it was made from
   */
  const compare = (image, input) => {
    const before = inputOf(image);
    const [made, first] = [
      offered(bench.model, image, all()),
      before ? [{ url: before, name: "the input image", differs: [] }] : [],
    ];
    const others = input ? [...first, ...made] : [...made, ...first];
    if (others.length) put(showCompare(image.file.url, others, back));
    else bench.say("There is nothing to compare it with yet: make a second image.");
  };
  return {
    again(image) {
      bench.write(image.values, "The form has its settings now.");
      bench.generate(true);
    },
    same(image) {
      const { [seed]: pinned } = image.values;
      bench.write({ [seed]: pinned, ...(count && { [count]: 1 }) }, `The form has seed ${pinned} now.`);
    },
    vary(image) {
      bench.write({ ...image.values, [seed]: RANDOM }, "The form has its settings and a new seed each time.");
      bench.generate();
    },
    settings: (image) => bench.write(image.values, "The form has its settings now."),
    input: field ? ({ file }) => bench.useAsInput(local(file.url)) : undefined,
    before: (image) => (inputOf(image) ? () => compare(image, true) : undefined),
    compare: (image) => compare(image, false),
    lost,
    link: (image) => copy(toAddress(image.values), bench),
  };
}

/**
 * @param {string} address
 * @param {Bench} bench
 */
async function copy(address, bench) {
  history.replaceState(null, "", address);
  const done = await copied(address);
  bench.say(done ? "The link is copied, and stands in the address bar." : "The link stands in the address bar.");
}
