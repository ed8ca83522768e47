/** The question before images are deleted: what goes, and what stays. */
import { confirm } from "./dialog.js";

/**
 * Ask whether images shall be deleted.
 * @param {Pick<ImageFile, "kept">[]} images
 * @param {() => Promise<unknown>} act deletes them; what it throws is shown
 */
export function askToDelete(images, act) {
  const title = images.length > 1 ? `Delete ${images.length} images?` : "Delete this image?";
  confirm(title, consequences(images), "Delete", act);
}

/** @param {Pick<ImageFile, "kept">[]} images */
function consequences(images) {
  const [several, kept] = [images.length > 1, images.filter((image) => image.kept).length];
  const files = several ? "Their files and previews are" : "Its file and preview are";
  const stays = `${files} deleted now, for good. What was asked for, and what it cost, stays in the history.`;
  if (!kept) return stays;
  if (!several) return `${stays} You marked it to be kept.`;
  return `${stays} You marked ${kept === images.length ? "all" : kept} of them to be kept.`;
}
