// A picture from the camera, taken in a dialog.

import { Fault } from "./api.js";

const dialog = document.getElementById("camera-dialog");
const video = document.getElementById("video");
const shoot = document.getElementById("shoot");

/** Resolves to a JPEG, or to null when the dialog was closed without one. Throws Fault without a camera. */
export async function takePicture() {
  let stream;
  try {
    stream = await navigator.mediaDevices.getUserMedia({ video: { facingMode: "user", width: { ideal: 1280 } } });
  } catch {
    throw new Fault("The camera cannot be used here. Allow it in the browser's settings, or choose a photograph instead.");
  }
  // Until the first picture is there, one can only cancel.
  shoot.disabled = true;
  video.onloadeddata = () => {
    shoot.disabled = false;
    shoot.focus();
  };
  const decided = new Promise((resolve) => {
    shoot.onclick = () => resolve(true);
    document.getElementById("camera-close").onclick = () => resolve(false);
    dialog.onclose = () => resolve(false);
  });
  video.srcObject = stream;
  dialog.showModal();
  video.play().catch(() => {});
  const taken = await decided;
  let picture = null;
  if (taken) {
    const canvas = new OffscreenCanvas(video.videoWidth, video.videoHeight);
    canvas.getContext("2d").drawImage(video, 0, 0);
    picture = await canvas.convertToBlob({ type: "image/jpeg", quality: 0.95 });
  }
  for (const track of stream.getTracks()) track.stop();
  video.srcObject = null;
  dialog.close();
  return picture;
}
