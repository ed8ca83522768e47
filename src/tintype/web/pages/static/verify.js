/** Who made an image: its file is chosen or dropped, and the server reads its marks. */
import { call, get, read } from "./api.js";
import { moment } from "./dates.js";
import { fill, h, icon } from "./dom.js";
import { drawHeader, main } from "./header.js";
import { listen } from "./intake.js";
import { at } from "./paths.js";
import { inLines } from "./refusal.js";
import { label } from "./words.js";

const PATH = "/v1/verify";
const NO_LINK = "Addresses are not fetched here: save the image, and drop its file.";
/**
 * What a signature's state means, in a few words, and whether that is good or bad.
 * @type {Record<Api.SignatureStatus, [words: string, kind: string]>}
 */
const HEADINGS = {
  here: ["Made by this server", "good"],
  other: ["Signed by another signer", ""],
  tampered: ["The signature does not fit the image", "bad"],
  expired: ["Signed, but the certificate has expired", ""],
  elsewhere: ["The signature is not in the file", ""],
  unreadable: ["The signature can't be read", "bad"],
  none: ["No signature was found", ""],
};
/** @type {Record<string, string>} by IPTC's digital source type */
const SOURCES = {
  trainedAlgorithmicMedia: "AI made it",
  compositeWithTrainedAlgorithmicMedia: "AI changed an image",
  compositeSynthetic: "Put together, with parts that AI made",
  algorithmicMedia: "A program made it, without AI",
  digitalCapture: "A camera took it",
  computationalCapture: "A camera took it and computed with it",
  digitalCreation: "A person made it, with software",
};
/** @type {Record<string, string>} by C2PA's names */
const ACTIONS = {
  "c2pa.created": "made",
  "c2pa.opened": "an existing image was opened",
  "c2pa.placed": "another image was put in",
  "c2pa.edited": "edited",
  "c2pa.converted": "converted",
  "c2pa.resized": "resized",
  "c2pa.cropped": "cropped",
  "c2pa.watermarked": "a mark was put into its pixels",
  "c2pa.watermarked.bound": "a mark was put into its pixels",
  "c2pa.watermarked.unbound": "a mark was put into its pixels",
};
/** @type {Record<NonNullable<Api.Verified["watermark"]>["status"], string>} */
const MARKS = {
  here: "This server's",
  other: "Another tintype server's",
  unreadable: "There is one, too damaged to say whose",
  none: "None was found",
};

const result = h("section.found", { "aria-live": "polite", "aria-label": "Result" });
/** How many images were given: what is found of an earlier one is not shown. */
let given = 0;
let shown = "";

/** @param {Blob} file */
async function verify(file) {
  given += 1;
  const mine = given;
  URL.revokeObjectURL(shown);
  shown = URL.createObjectURL(file);
  const preview = h("img", { src: shown, alt: "The image that was given" });
  // Of formats that this browser doesn't show, nothing is.
  const plate = h("div.plate", {}, preview);
  preview.addEventListener("error", () => plate.remove());
  const about = h("div.findings", {}, h("p.hint", { role: "status" }, "Looking for marks …"));
  fill(result, plate, about);
  try {
    const body = new FormData();
    body.append("file", file, "image");
    const found = /** @type {Api.Verified} */ (await read(await call(PATH, { method: "POST", body })));
    if (mine === given) drawFound(about, found);
  } catch (error) {
    if (mine !== given) return;
    const refusal = /** @type {Refusal} */ (error);
    fill(about, h("div.refusal", { role: "alert" }, inLines(refusal)));
  }
}

/**
 * @param {HTMLElement} place
 * @param {Api.Verified} found
 */
function drawFound(place, { verdict, signature, watermark, log }) {
  const [words, kind] = HEADINGS[signature.status];
  fill(
    place,
    h(kind ? `h2.${kind}` : "h2", {}, words),
    h("p", {}, verdict),
    h("dl", {}, ...signed(signature), ...marked(watermark), ...logged(log)),
  );
}

/**
 * One fact; nothing where there is none.
 * @param {string} term
 * @param {Child | null} value
 * @param {string} [hint]
 */
const fact = (term, value, hint) =>
  value ? [h("div", {}, h("dt", {}, term), h("dd", {}, value), hint ? h("dd.hint", {}, hint) : null)] : [];

/** @param {Api.Signature} signature */
function signed({ status, signer, trusted, made_at: when, source_type: source, actions }) {
  if (!signer && !actions.length) return [];
  const fits = status !== "tampered";
  const known = status === "here" ? "This server" : "Trusted by this server";
  return [
    ...fact("Signed by", signer, trusted ? known : "Not known to this server: the name may be made up."),
    ...fact("Changed since", fits ? "No" : "Yes, or the signature was taken from another image"),
    ...fact("By the signer's word", source && (SOURCES[source] ?? source)),
    ...fact("What was done", actions.length ? label(actions.map((name) => ACTIONS[name] ?? name).join(", ")) : null),
    ...fact("When", when && shownTime(when)),
  ];
}

/**
 * A moment of a stranger's file, which may be any text.
 * @param {string} when
 */
const shownTime = (when) => (Number.isNaN(Date.parse(when)) ? when : moment(when));

/** @param {Api.Verified["watermark"]} mark */
function marked(mark) {
  if (!mark) return [];
  const hint = mark.status === "none" ? "" : "Marks can be forged: only a signature proves anything.";
  return fact("Mark in the pixels", [MARKS[mark.status], mark.number].filter(Boolean).join(", "), hint);
}

/** @param {Api.Verified["log"]} log */
function logged(log) {
  const [entry] = [log?.exact, ...(log?.number ?? [])].filter((one) => one !== null && one !== undefined);
  return fact(
    "This server's log",
    entry ? `Made by ${entry.model}, in the hour from ${shownTime(entry.made_at)}` : null,
    log?.exact ? "The same file." : "An image with the same number.",
  );
}

/** @param {Found} found */
async function take(found) {
  if ("link" in found) refuse(NO_LINK);
  else if ("file" in found) await verify(found.file);
  else {
    const answer = await fetch(at(found.path));
    if (answer.ok) await verify(await answer.blob());
    else refuse("That image of this server is gone.");
  }
}

/** @param {string} words */
function refuse(words) {
  given += 1;
  fill(result, h("div.refusal", { role: "alert" }, h("p", {}, words)));
}

function draw() {
  const input = h("input.unseen", { type: "file", accept: "image/*" });
  input.addEventListener("change", () => {
    const file = input.files?.[0];
    if (file) verify(file);
    input.value = "";
  });
  fill(
    main,
    h(
      "div.title",
      {},
      h("h1", {}, "Verify an image"),
      h("p.lead", {}, "Who signed it, what was done, and whether it was changed since. Nothing is stored."),
    ),
    h(
      "label.take",
      {},
      input,
      icon("input"),
      h("strong", {}, "Choose an image"),
      h(
        "span.hint",
        {},
        "or drop or paste one anywhere on this page: the file itself, as a screenshot has no signature",
      ),
    ),
    result,
    h(
      "p.hint.certificates",
      {},
      "Any program that reads C2PA can verify this server's images, with ",
      h("a", { href: "/v1/verify/roots.pem", download: "tintype-roots.pem" }, "its certificates"),
      ".",
    ),
  );
  listen("Drop the image to verify it", take, refuse);
}

async function start() {
  drawHeader();
  if ((await get("/about.json")).verify !== "off") return draw();
  const words = "The operator of this server has turned this off.";
  fill(main, h("div.lone", {}, h("h1", {}, "Verify an image"), h("p", {}, words)));
}

start();
