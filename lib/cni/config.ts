/** The part of a configuration that all plugins share (specification section "Section 1: Network configuration format"). */

import { CniError, DECODE_FAILURE, INVALID_CONFIG } from "../errors.ts";
import { isValidName, MAX_NAME_LENGTH } from "./environment.ts";
import { Fields } from "./fields.ts";
import { JsonError, jsonObject, parseJson } from "./json.ts";
import type { Dns, Result } from "./result.ts";
import { decodeDns, decodeResult } from "./result-decode.ts";
import { ALL_VERSIONS, DEFAULT_VERSION } from "./version.ts";

/** More than any runtime sends (a GC of 20,000 attachments is 2 MiB). So much is read in a few milliseconds. */
export const MAX_CONFIG_BYTES = 4 * 1024 * 1024;

/** An attachment that GC must keep. */
export interface ValidAttachment {
  readonly containerId: string;
  readonly ifname: string;
}

/** The network configuration that one plugin receives. */
export class NetworkConfig {
  /** The configuration's cniVersion, "0.1.0" if it has none. It may be one that the plugin does not support: run.ts checks it. */
  readonly cniVersion: string;
  readonly name: string;
  readonly fields: Fields;
  /** The configuration as it arrived, for delegates. */
  readonly bytes: Uint8Array;
  #attachments: readonly ValidAttachment[] | null = null;
  #attachmentsRead = false;

  constructor(fields: Fields, cniVersion: string, name: string, bytes: Uint8Array) {
    this.fields = fields;
    this.cniVersion = cniVersion;
    this.name = name;
    this.bytes = bytes;
  }

  /** The plugin's name in the configuration. */
  get type(): string {
    return this.fields.string("type", "");
  }

  /** The IPAM plugin's name, "" for none: all that DEL, GC and STATUS need of a configuration that may have changed. */
  ipamType(): string {
    return this.fields.object("ipam")?.string("type", "") ?? "";
  }

  /** The `ipam` object, for an IPAM plugin. @throws CniError 7 if it is absent */
  ipam(): Fields {
    const ipam = this.fields.object("ipam");
    if (ipam !== null) return ipam;
    throw new CniError(INVALID_CONFIG, "IPAM config missing 'ipam' key", 'the configuration needs an "ipam" object');
  }

  /** The result of the previous plugin of the chain; for CHECK and DEL that of the last plugin. Null if absent. @throws CniError 1, 7 */
  prevResult(): Result | null {
    const json = this.fields.find("prevResult");
    return json === null ? null : decodeResult(json, "prevResult", this.cniVersion);
  }

  /** `prevResult` for DEL, which must not fail for an invalid configuration: null also if it is invalid. */
  previousIfAny(): Result | null {
    try {
      return this.prevResult();
    } catch (error) {
      if (error instanceof CniError) return null;
      throw error;
    }
  }

  /** The capability arguments of the runtime; without members if there are none. */
  runtimeConfig(): Fields {
    return this.fields.object("runtimeConfig") ?? new Fields(jsonObject(), "runtimeConfig");
  }

  /** `args.cni`; without members if it is absent. */
  cniArgs(): Fields {
    return this.fields.object("args")?.object("cni") ?? new Fields(jsonObject(), "args.cni");
  }

  /** The configuration's own `dns`; null if it sets none of its keys. */
  dns(): Dns | null {
    const fields = this.fields.object("dns");
    if (fields === null) return null;
    let set = false;
    for (const key of ["nameservers", "domain", "search", "options"]) if (fields.has(key)) set = true;
    return set ? decodeDns(fields) : null;
  }

  /**
   * The attachments that GC must keep; empty if none is valid, which libcni writes as null. Null if the runtime sent no list:
   * then GC must remove nothing.
   * @throws CniError 7
   */
  validAttachments(): readonly ValidAttachment[] | null {
    if (!this.#attachmentsRead) this.#attachments = readAttachments(this.fields);
    this.#attachmentsRead = true;
    return this.#attachments;
  }
}

/* libcni before 1.3 writes only the second key, later versions write both. If they differ, an attachment in either is kept. */
const ATTACHMENT_KEYS = ["cni.dev/valid-attachments", "cni.dev/attachments"];

function readAttachments(fields: Fields): ValidAttachment[] | null {
  const attachments: ValidAttachment[] = [];
  let said = false;
  for (const key of ATTACHMENT_KEYS) {
    if (!fields.mentions(key)) continue;
    said = true;
    for (const item of fields.objects(key)) {
      const containerId = item.string("containerID", "");
      const ifname = item.string("ifname", "");
      /* Without one of the two the attachment would match nothing, and GC would remove what it must keep. */
      if (containerId === "") throw item.invalid("containerID", "an attachment to keep needs one");
      if (ifname === "") throw item.invalid("ifname", "an attachment to keep needs one");
      attachments.push({ containerId, ifname });
    }
  }
  return said ? attachments : null;
}

/**
 * Parses a configuration and checks the part that all plugins share.
 * @throws CniError 6 if it is not JSON, 7 if it has no valid name
 */
export function readConfig(bytes: Uint8Array): NetworkConfig {
  const fields = new Fields(parse(bytes), "");
  if (fields.json.kind !== "object") {
    throw new CniError(
      DECODE_FAILURE,
      `error unmarshall network config: expected an object, found ${fields.json.kind}`,
    );
  }
  const cniVersion = fields.string("cniVersion", "");
  const name = fields.string("name", "");
  if (name === "") throw new CniError(INVALID_CONFIG, "missing network name", 'the configuration needs a "name"');
  if (name.length > MAX_NAME_LENGTH) {
    throw new CniError(
      INVALID_CONFIG,
      "network name is too long",
      `a network's name has at most ${MAX_NAME_LENGTH} characters`,
    );
  }
  if (!isValidName(name)) throw new CniError(INVALID_CONFIG, "invalid characters found in network name", name);
  return new NetworkConfig(fields, cniVersion === "" ? DEFAULT_VERSION : cniVersion, name, bytes);
}

/** The cniVersion for an error object; `fallback` if the configuration is invalid or has an unknown version. */
export function versionForErrors(bytes: Uint8Array, fallback: string): string {
  try {
    const found = new Fields(parse(bytes), "").string("cniVersion", "");
    const version = found === "" ? DEFAULT_VERSION : found;
    return ALL_VERSIONS.includes(version) ? version : fallback;
  } catch (error) {
    if (error instanceof CniError) return fallback;
    throw error;
  }
}

function parse(bytes: Uint8Array) {
  if (bytes.length > MAX_CONFIG_BYTES) {
    throw new CniError(
      DECODE_FAILURE,
      `error unmarshall network config: longer than ${MAX_CONFIG_BYTES} bytes`,
      "a network configuration is a few kilobytes; check what the runtime sends on stdin",
    );
  }
  try {
    return parseJson(bytes);
  } catch (error) {
    if (!(error instanceof JsonError)) throw error;
    throw new CniError(DECODE_FAILURE, `error unmarshall network config: ${error.message}`);
  }
}
