/**
 * Attachments within a winmail.dat (TNEF, MS-OXTNEF): what Outlook packs into one part.
 *
 * @module
 */
import { ascii } from "./mime/decode.ts";

const SIGNATURE = 0x223e9f78;
const ATTACH_RENDER = 0x00069002;
const ATTACH_TITLE = 0x00018010;
const ATTACH_DATA = 0x0006800f;
const ATTACHMENT = 0x00069005;
const MOST_ATTACHMENTS = 1000;

/** An attachment. */
export interface TnefFile {
  readonly name: string;
  readonly bytes: Uint8Array;
}

/** The attachments; undefined when it is not TNEF. What is damaged ends the list. */
export function openTnef(data: Uint8Array): TnefFile[] | undefined {
  const view = new DataView(data.buffer, data.byteOffset, data.byteLength);
  if (data.length < 6 || view.getUint32(0, true) !== SIGNATURE) return undefined;
  const files: TnefFile[] = [];
  let bytes: Uint8Array | undefined;
  let name = "";
  const flush = () => {
    if (bytes !== undefined && files.length < MOST_ATTACHMENTS) files.push({ name, bytes });
    bytes = undefined;
    name = "";
  };
  for (let at = 6; at + 9 <= data.length;) {
    const id = view.getUint32(at + 1, true);
    const length = view.getUint32(at + 5, true);
    const content = data.subarray(at + 9, Math.min(data.length, at + 9 + length));
    if (id === ATTACH_RENDER) flush();
    else if (id === ATTACH_TITLE) name = ascii(content, 0, content.length).replace(/\0.*$/s, "");
    else if (id === ATTACH_DATA) {
      if (bytes !== undefined) flush();
      bytes = content;
    } // Properties hold embedded objects: they are looked at as they are.
    else if (id === ATTACHMENT && files.length < MOST_ATTACHMENTS) {
      files.push({ name: `${name} (properties)`, bytes: content });
    }
    at += 9 + length + 2;
  }
  flush();
  return files;
}
