/** Choices of a reader that outlast the page, where the browser keeps anything. */

/**
 * What was remembered under this name; null where nothing was.
 * @param {string} name
 */
export function remembered(name) {
  try {
    return localStorage.getItem(`tintype-${name}`);
  } catch {
    return null; // A browser that keeps nothing refuses to be asked.
  }
}

/**
 * @param {string} name
 * @param {string | null} value null forgets it
 */
export function remember(name, value) {
  try {
    if (value === null) localStorage.removeItem(`tintype-${name}`);
    else localStorage.setItem(`tintype-${name}`, value);
  } catch {
    // The choice holds as long as the page does.
  }
}
