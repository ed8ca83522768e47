/** A photograph with the machine's camera. */
import { cancelButton, openDialog } from "../dialog.js";
import { h } from "../dom.js";

/**
 * → the photograph as a JPEG; null when nothing was taken.
 * @returns {Promise<Blob | null>}
 */
export function takePhoto() {
  return new Promise((resolve) => {
    /** @type {Blob | null} */
    let photo = null;
    const video = h("video", { autoplay: true, playsinline: true, muted: true });
    const words = h("p.hint", { role: "status" }, "Asking for the camera …");
    const shoot = h(
      "button.primary",
      {
        type: "button",
        disabled: true,
        onclick: async () => {
          photo = await still(video);
          dialog.close();
        },
      },
      "Take it",
    );
    const dialog = openDialog(
      "Camera",
      h(
        "div.camera",
        {},
        video,
        words,
        h(
          "div.row",
          {},
          shoot,
          cancelButton(() => dialog.close()),
        ),
      ),
    );
    dialog.addEventListener("close", () => {
      stop(video.srcObject);
      resolve(photo);
    });
    start(video, words, shoot, dialog);
  });
}

/** @param {MediaProvider | null} stream */
function stop(stream) {
  if (stream instanceof MediaStream) for (const track of stream.getTracks()) track.stop();
}

/**
 * @param {HTMLVideoElement} video
 * @param {HTMLElement} words
 * @param {HTMLButtonElement} shoot
 * @param {HTMLDialogElement} dialog
 */
async function start(video, words, shoot, dialog) {
  try {
    if (!navigator.mediaDevices) throw new Error("insecure");
    const stream = await navigator.mediaDevices.getUserMedia({ video: true });
    if (!dialog.open) return stop(stream);
    // Only the first frame tells how large an image is.
    video.addEventListener("loadeddata", () => {
      words.textContent = "Hold still.";
      shoot.disabled = false;
    });
    video.srcObject = stream;
  } catch {
    words.textContent = "No camera can be used: browsers lend it only with your consent, and to https or localhost.";
  }
}

/**
 * @param {HTMLVideoElement} video
 * @returns {Promise<Blob | null>}
 */
function still(video) {
  const canvas = h("canvas", { width: video.videoWidth, height: video.videoHeight });
  canvas.getContext("2d")?.drawImage(video, 0, 0);
  return new Promise((resolve) => canvas.toBlob(resolve, "image/jpeg", 0.92));
}
