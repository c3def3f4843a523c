/** One JSON object of a list of peers: a line of the file, or a file of the directory. Pure. */
import { Fields } from "../cni/fields.ts";
import { JsonError, parseJson } from "../cni/json.ts";
import { CniError } from "../errors.ts";
import type { Peer } from "./peer.ts";
import { PeersUnavailable, type Reject, readPeer, rejectOf } from "./peers.ts";

/** The longest line, or file of a directory. A node with a dozen networks has some hundred bytes. */
const MAX_RECORD_BYTES = 16_384;

/** A peer, or a record that cannot be used: one of the two. */
export interface ReadRecord {
  readonly peer: Peer | null;
  readonly reject: Reject | null;
}

/** Reads a record. A wrong one is a reject and no error, since the other records can be used. @param place for messages */
export function readRecord(bytes: Uint8Array, place: string): ReadRecord {
  let fields: Fields;
  try {
    if (bytes.length > MAX_RECORD_BYTES)
      throw new PeersUnavailable(`${place} is longer than ${MAX_RECORD_BYTES} bytes`);
    fields = parseRecord(bytes, place);
  } catch (error) {
    if (!(error instanceof PeersUnavailable)) throw error;
    return { peer: null, reject: { text: `${error.message}; it is not used`, host: null, podCidrs: [] } };
  }
  return readFields(fields, place);
}

/** The same for a record that is parsed already. */
export function readFields(fields: Fields, place: string): ReadRecord {
  try {
    return { peer: readPeer(fields, place), reject: null };
  } catch (error) {
    if (!(error instanceof CniError)) throw error;
    return { peer: null, reject: rejectOf(fields, error.message) };
  }
}

/** Parses a JSON object. @param place for messages @throws PeersUnavailable if it is something else */
export function parseRecord(bytes: Uint8Array, place: string): Fields {
  try {
    const json = parseJson(bytes);
    if (json.kind === "object") return new Fields(json, place);
  } catch (error) {
    if (!(error instanceof JsonError)) throw error;
    throw new PeersUnavailable(`${place} is not JSON: ${error.message}`);
  }
  throw new PeersUnavailable(`${place} is no JSON object`);
}
