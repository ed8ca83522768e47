/** The models as cards. */
import { card, showLatest } from "./cards.js";
import { fill, h } from "./dom.js";
import { drawHeader, main, showFailure } from "./header.js";
import { currentKey } from "./key.js";
import { loadModels } from "./models.js";

async function start() {
  drawHeader();
  const models = await loadModels();
  fill(
    main,
    h(
      "div.title.front",
      {},
      h("h1", {}, "What shall we make?"),
      h("p.lead", {}, "The models of this machine. Choose one, describe an image, and watch it develop."),
    ),
    h(
      "ul.cards",
      {},
      models.map((model) => card(model)),
    ),
  );
  // Where they can't be had, the samples stay.
  if (currentKey()) await Promise.allSettled(models.map(showLatest));
}

start().catch(showFailure);
