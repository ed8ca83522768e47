/** Where the arrow keys lead in a grid of tiles, whose rows are as long as the page is wide. */

/** @typedef {{element: HTMLElement}} Tile */
/**
 * The tile that a key leads to; undefined where it leads nowhere.
 * @template {Tile} T
 * @param {T[]} tiles
 * @param {T} from
 * @param {string} key
 */
export function neighbour(tiles, from, key) {
  const place = tiles.indexOf(from);
  if (key === "ArrowRight") return tiles[place + 1];
  if (key === "ArrowLeft") return tiles[place - 1];
  if (key === "Home") return tiles[0];
  if (key === "End") return tiles.at(-1);
  if (key === "ArrowDown") return inNextRow(tiles.slice(place + 1), from);
  if (key === "ArrowUp") return inNextRow(tiles.slice(0, place).reverse(), from);
  return undefined;
}

/**
 * Of the first row that is not this tile's, the tile that is nearest to being below or above it.
 * @template {Tile} T
 * @param {T[]} others nearest first
 * @param {T} from
 */
function inNextRow(others, from) {
  const { top, left } = from.element.getBoundingClientRect();
  /** @type {T | undefined} */
  let best;
  let row = top;
  let apart = Infinity;
  for (const tile of others) {
    const at = tile.element.getBoundingClientRect();
    if (at.top === top) continue;
    if (best && at.top !== row) break;
    if (Math.abs(at.left - left) < apart) [best, apart] = [tile, Math.abs(at.left - left)];
    row = at.top;
  }
  return best;
}
