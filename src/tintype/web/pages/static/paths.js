const STATIC = "/static/";
/** Where this page's files are: with their version in the path, so that browsers cache them for good. */
const files = new URL("./", import.meta.url).pathname;
/** Where this server is: at the root of its host, or below the path under which a proxy has it. */
const root = new URL(files.slice(0, files.lastIndexOf(STATIC) + 1), import.meta.url);

/**
 * The address, for this page, of one of the server's paths: `/v1/models`, and below `/tintype/` `/tintype/v1/models`.
 * @param {string} path
 */
export const at = (path) =>
  path.startsWith(STATIC) ? files + path.slice(STATIC.length) : root.pathname + path.slice(1);

/** The address of this server, for callers elsewhere; without a slash at the end. */
export const server = root.href.slice(0, -1);

/** The model whose page this is. */
export const slugHere = () => decodeURIComponent(location.pathname.split("/").at(-1) ?? "");

/**
 * Whether this page is at one of the server's paths.
 * @param {string} path
 */
export const here = (path) => location.pathname === at(path);

/**
 * Whether this page's path begins with one of the server's.
 * @param {string} path
 */
export const below = (path) => location.pathname.startsWith(at(path));

/**
 * The server's path of an address of its own, also where it calls itself by another name, or knows of no prefix.
 * @param {string} url
 */
export function local(url) {
  const path = url.startsWith("http") ? new URL(url).pathname : url;
  const file = path.lastIndexOf("/files/");
  if (file >= 0) return path.slice(file);
  return path.startsWith(root.pathname) ? path.slice(root.pathname.length - 1) : path;
}

/**
 * What can be shown without asking another server; empty where there is nothing.
 * @param {string} text
 */
export function preview(text) {
  if (/^\/(?!\/)/.test(text) || text.startsWith("data:image/")) return text;
  return text.startsWith(`${server}/`) ? local(text) : "";
}
