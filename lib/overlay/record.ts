/** One JSON object of a list of peers: a line of the file, or a file of the directory. Pure. */
import { Fields } from "../cni/fields.ts";
import { JsonError, parseJson } from "../cni/json.ts";
import { CniError } from "../errors.ts";
import type { Peer } from "./peer.ts";
import { PeersUnavailable, type Reject, readPeer, rejectOf } from "./peers.ts";

/** A line, or a file of a directory: a node with a dozen networks has some hundred bytes. */
const MAX_RECORD_BYTES = 16_384;

/** What a record is: one of the two. */
export interface ReadRecord {
  readonly peer: Peer | null;
  readonly reject: Reject | null;
}

/** Reads a peer. What is wrong about its record concerns nobody but its node. @param place where it is, for messages */
export function readRecord(bytes: Uint8Array, place: string): ReadRecord {
  let fields: Fields;
  try {
    if (bytes.length > MAX_RECORD_BYTES) throw new PeersUnavailable(`${place} is longer than ${MAX_RECORD_BYTES} bytes`);
    fields = parseRecord(bytes, place);
  } catch (error) {
    if (!(error instanceof PeersUnavailable)) throw error;
    return { peer: null, reject: { text: `${error.message}; it is not used`, host: null, podCidrs: [] } };
  }
  return readFields(fields, place);
}

/** The same of a record whose members are known. */
export function readFields(fields: Fields, place: string): ReadRecord {
  try {
    return { peer: readPeer(fields, place), reject: null };
  } catch (error) {
    if (!(error instanceof CniError)) throw error;
    return { peer: null, reject: rejectOf(fields, error.message) };
  }
}

/** Reads an object. @param place where it is, for messages @throws PeersUnavailable if it is none */
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
