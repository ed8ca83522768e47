/** The clipboard. */

/** Copy a text → whether it is copied: browsers lend the clipboard to https and localhost only, and with the reader's consent. */
export async function copied(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    return false;
  }
}
