/** One JSON object of a list of peers: a line of the file, or a file of the directory. Pure. */
import { Fields } from "../cni/fields.ts";
import { JsonError, parseJson } from "../cni/json.ts";
import { PeersUnknown } from "./peers.ts";

/** Reads an object. @param place where it is, for messages @throws PeersUnknown if it is none */
export function parseRecord(bytes: Uint8Array, place: string): Fields {
  try {
    const json = parseJson(bytes);
    if (json.kind === "object") return new Fields(json, place);
  } catch (error) {
    if (!(error instanceof JsonError)) throw error;
    throw new PeersUnknown(`${place} is not JSON: ${error.message}`);
  }
  throw new PeersUnknown(`${place} is no JSON object`);
}
