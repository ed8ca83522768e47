/** A photograph with the machine's camera. */
import { openDialog } from "../dialog.js";
import { h } from "../dom.js";

/** → the photograph as a JPEG; null when nothing was taken. */
export function takePhoto() {
  return new Promise((resolve) => {
    const video = h("video", { autoplay: true, playsinline: true, muted: true });
    const words = h("p.hint", { role: "status" }, "Asking for the camera …");
    const shoot = h(
      "button.primary",
      { type: "button", disabled: true, onclick: async () => end(await still(video)) },
      "Take it",
    );
    const dialog = openDialog(
      "Camera",
      h(
        "div.camera",
        {},
        video,
        words,
        h("div.row", {}, shoot, h("button.quiet", { type: "button", onclick: () => dialog.close() }, "Not now")),
      ),
    );
    let photo = null;
    const end = (taken) => ((photo = taken), dialog.close());
    dialog.addEventListener("close", () => {
      video.srcObject?.getTracks().forEach((track) => track.stop());
      resolve(photo);
    });
    start(video, words, shoot, dialog);
  });
}

async function start(video, words, shoot, dialog) {
  try {
    if (!navigator.mediaDevices) throw new Error("insecure");
    const stream = await navigator.mediaDevices.getUserMedia({ video: true });
    if (!dialog.open) return stream.getTracks().forEach((track) => track.stop());
    // Only the first frame tells how large a picture is.
    video.addEventListener("loadeddata", () => {
      words.textContent = "Hold still.";
      shoot.disabled = false;
    });
    video.srcObject = stream;
  } catch {
    words.textContent = "No camera can be used: browsers lend it only with your consent, and to https or localhost.";
  }
}

function still(video) {
  const canvas = h("canvas", { width: video.videoWidth, height: video.videoHeight });
  canvas.getContext("2d").drawImage(video, 0, 0);
  return new Promise((resolve) => canvas.toBlob(resolve, "image/jpeg", 0.92));
}
