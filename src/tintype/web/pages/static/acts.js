/** What can be done with a finished picture: again, otherwise, as input, beside another, by a link. */
import { copied } from "./clipboard.js";
import { showCompare } from "./compare.js";
import { drawSeed } from "./controls/number.js";
import { fill } from "./dom.js";
import { toAddress } from "./link.js";
import { named } from "./models.js";

/** The acts on one of the pictures of `made`; `bench` is the playground: model, stage, shelf, write, generate, show, say. */
export function actsOn(made, bench) {
  const { model } = bench;
  const [seed, image, count] = ["seed", "image", "count"].map((means) => named(model, means)?.name);
  const { values } = made[0];
  /** What makes this one picture again, and no others. */
  const alone = (picture) => ({ ...values, ...(count && { [count]: 1 }), [seed]: picture.seed });
  return {
    same: (picture) => (bench.write(alone(picture)), bench.say(`The form has seed ${picture.seed} now.`)),
    vary: () => (bench.write({ ...values, [seed]: drawSeed() }), bench.generate()),
    input:
      image && ((picture) => (bench.write({ [image]: picture.url }), bench.say("It is the form's input picture now."))),
    compare: (picture) => compare(picture, values[image], bench, () => bench.show(made)),
    link: (picture) => copy(toAddress(alone(picture)), bench),
  };
}

/** Beside the picture that it was made from, where this page can show that one, or any other on the shelf. */
function compare(picture, input, bench, close) {
  const before = input?.startsWith("/") ? [{ url: input, label: "the input picture" }] : [];
  const others = [...before, ...bench.shelf.all().filter((other) => other !== picture)];
  if (others.length) fill(bench.stage, showCompare(picture, others, close));
  else bench.say("There is nothing to compare it with yet: make a second picture.");
}

async function copy(address, bench) {
  history.replaceState(null, "", address);
  bench.say(
    (await copied(address))
      ? "The link is copied, and stands in the address bar."
      : "The link stands in the address bar.",
  );
}
