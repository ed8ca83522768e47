/** What can be done with a finished picture: again, otherwise, as input, next to another, by a link. */
import { copied } from "./clipboard.js";
import { showCompare } from "./compare.js";
import { drawSeed } from "./controls/number.js";
import { toAddress } from "./link.js";
import { named } from "./models.js";

/**
 * The acts on one of the pictures of a request.
 * @param {Picture[]} made
 * @param {Bench} bench
 * @returns {PictureActs}
 */
export function actsOn(made, bench) {
  const name = (/** @type {string} */ means) => named(bench.model, means)?.name;
  const [seed, image, count] = [name("seed") ?? "seed", name("image"), name("count")];
  const { values } = made[0];
  /**
   * Put values into the form.
   * @param {Values} wanted
   * @param {string} words
   */
  const write = (wanted, words) => {
    bench.write(wanted);
    bench.say(words);
  };
  /**
   * What makes this one picture again, and no others.
   * @param {Picture} picture
   */
  const alone = (picture) => ({ ...values, ...(count && { [count]: 1 }), [seed]: picture.seed });
  return {
    same: (picture) => write(alone(picture), `The form has seed ${picture.seed} now.`),
    vary() {
      bench.write({ ...values, [seed]: drawSeed() });
      bench.generate();
    },
    input: image ? (picture) => write({ [image]: picture.url }, "It is the form's input picture now.") : undefined,
    compare: (picture) => compare(picture, image ? values[image] : null, bench, () => bench.show(made)),
    link: (picture) => copy(toAddress(alone(picture)), bench),
  };
}

/**
 * Next to the picture that it was made from, where this page can show that one, or any other on the shelf.
 * @param {Picture} picture
 * @param {Value} input
 * @param {Bench} bench
 * @param {() => void} close
 */
function compare(picture, input, bench, close) {
  const before = String(input).startsWith("/") ? [{ url: String(input), label: "the input picture" }] : [];
  const others = [...before, ...bench.made().filter((other) => other !== picture)];
  if (others.length) bench.put(showCompare(picture, others, close));
  else bench.say("There is nothing to compare it with yet: make a second picture.");
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
