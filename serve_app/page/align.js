// The aligned face, cut out here as the server does it, so that the slider need not send the whole photograph.

// Where the eyes lie in an aligned face, as shares of its side: visage.faces.align.EYES.
const EYES = [[0.34, 0.4], [0.66, 0.4]];

/** The size x size PNG of a picture's face; landmarks are the two eyes first, in the picture's pixels. */
export async function cutOut(bitmap, [[x0, y0], [x1, y1]], size) {
  const length = (x1 - x0) ** 2 + (y1 - y0) ** 2;
  const wide = (EYES[1][0] - EYES[0][0]) * size;
  const [cos, sin] = [(wide * (x1 - x0)) / length, (-wide * (y1 - y0)) / length];
  const canvas = new OffscreenCanvas(size, size);
  const context = canvas.getContext("2d");
  context.imageSmoothingQuality = "high";
  // Beyond the picture's border something of its colours, not black.
  context.drawImage(bitmap, 0, 0, size, size);
  const shift = [EYES[0][0] * size - cos * x0 + sin * y0, EYES[0][1] * size - sin * x0 - cos * y0];
  context.setTransform(cos, sin, -sin, cos, ...shift);
  context.drawImage(bitmap, 0, 0);
  return canvas.convertToBlob({ type: "image/png" });
}
