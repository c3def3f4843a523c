/**
 * The records of a network, `<dataDir>/.podwire/<network>`: one file for each attachment, with its network namespace, its
 * boot and its addresses. A record is read and written only under the lock of the lease directory.
 */

import { createHash } from "node:crypto";
import { MAX_CONFIG_BYTES } from "../../lib/cni/config.ts";
import { isValidName } from "../../lib/cni/environment.ts";
import { createTextAt, listNames, readableTextAt, writeTextAt } from "../../lib/host/directory.ts";
import { textAt } from "../../lib/lists.ts";
import { EISDIR, ENOENT, SystemError } from "../../lib/sys/errno.ts";
import * as sys from "../../lib/sys/sys.ts";
import { hexOf, isDigits } from "../../lib/text.ts";
import { type Attachment, type Owner, sameOwner } from "./attachment.ts";

/**
 * A record has a path and an address for each range set. A range set takes at least 27 bytes in a configuration, its
 * address at most 46 bytes here. A longer file is not read.
 */
const MAX_RECORD_BYTES = 2 * MAX_CONFIG_BYTES;
/** The length of a record's file name. */
const NAME_LENGTH = 32;
const TEMPORARY = ".new";
const HEADER = "podwire host-local attachment 1";
const KEYS = ["container ", "ifname ", "netns ", "boot ", "since-boot-ms ", "addresses "];

export class Records {
  readonly #directory: number;
  /** The path of the lease directory, for messages. */
  readonly #leasePath: string;
  #damaged = false;

  /**
   * @param directory the descriptor of the directory; -1 if there is none and this call must not create one: then there
   *   are no records
   */
  constructor(directory: number, leasePath: string) {
    this.#directory = directory;
    this.#leasePath = leasePath;
  }

  get available(): boolean {
    return this.#directory >= 0;
  }

  /** Whether a record was found that could not be parsed. */
  get damaged(): boolean {
    return this.#damaged;
  }

  /** The record of an attachment; null if there is none that can be parsed. @throws SystemError */
  read(owner: Owner): Attachment | null {
    const found = this.readNamed(recordName(owner));
    return found !== null && sameOwner(found.owner, owner) ? found : null;
  }

  /** The record in a file; null if there is none that can be parsed. @throws SystemError */
  readNamed(name: string): Attachment | null {
    if (this.#directory < 0) return null;
    const text = readableTextAt(this.#directory, name, MAX_RECORD_BYTES);
    if (text === null) return null;
    const attachment = parseRecord(text);
    if (attachment === null) this.#damaged = true;
    return attachment;
  }

  /** The file names of all records. */
  names(): string[] {
    return this.#directory < 0 ? [] : listNames(this.#directory).filter((name) => name.length === NAME_LENGTH);
  }

  /** Writes a record, in place of the attachment's previous one. @throws SystemError; then the previous one is unchanged */
  write(attachment: Attachment): void {
    const what = `the record of ${attachment.owner.containerId} for ${this.#leasePath}`;
    writeTextAt(this.#directory, TEMPORARY, recordName(attachment.owner), formatRecord(attachment), what, true);
  }

  /**
   * Writes the record of an attachment that had none. This needs no rename: nobody reads records without the lock, and
   * after a kill the next call reconciles all of them. @throws SystemError
   */
  add(attachment: Attachment): void {
    if (!createTextAt(this.#directory, recordName(attachment.owner), formatRecord(attachment))) this.write(attachment);
  }

  /** Removes the record of an attachment, if there is one. @throws SystemError */
  remove(owner: Owner): void {
    if (this.#directory < 0) return;
    const name = recordName(owner);
    const removed = sys.unlinkat(this.#directory, name, 0);
    /* A directory of that name was not created by this plugin. */
    if (removed < 0 && removed !== -ENOENT && removed !== -EISDIR)
      throw new SystemError(-removed, `remove the record ${name} of ${this.#leasePath}`);
  }

  /** Removes the record in a file, if that is possible. */
  removeNamed(name: string): void {
    sys.unlinkat(this.#directory, name, 0);
  }

  /** Removes the file of an unfinished `write`. */
  removeTemporary(): void {
    if (this.#directory >= 0) sys.unlinkat(this.#directory, TEMPORARY, 0);
  }
}

/** The name of an attachment's record, a hash: it is found from container ID and interface name without a search. */
export function recordName(owner: Owner): string {
  const hash = createHash("sha256").update(`${owner.containerId}/${owner.ifname}`).digest();
  return hexOf(hash.subarray(0, NAME_LENGTH / 2), "");
}

/** The text of a record: a header, then one line for each field. */
export function formatRecord(attachment: Attachment): string {
  const { owner, netns } = attachment;
  const lines = [
    HEADER,
    `container ${owner.containerId}`,
    `ifname ${owner.ifname}`,
    `netns ${netns.device} ${netns.inode} ${netns.path}`,
    `boot ${attachment.boot}`,
    `since-boot-ms ${attachment.timeMs}`,
    `addresses ${attachment.addresses.join(" ")}`,
  ];
  return `${lines.join("\n")}\n`;
}

/** Parses a record; null if the text is empty, incomplete or otherwise damaged. */
export function parseRecord(text: string): Attachment | null {
  const lines = text.split("\n");
  if (lines.length !== KEYS.length + 2 || lines[0] !== HEADER) return null;
  const values: string[] = [];
  for (let i = 0; i < KEYS.length; i += 1) {
    const line = textAt(lines, i + 1);
    const key = textAt(KEYS, i);
    if (!line.startsWith(key)) return null;
    values.push(line.slice(key.length));
  }
  const owner: Owner = { containerId: textAt(values, 0), ifname: textAt(values, 1) };
  const netns = textAt(values, 2).split(" ");
  const device = wholeNumber(textAt(netns, 0));
  const inode = wholeNumber(textAt(netns, 1));
  const timeMs = wholeNumber(textAt(values, 4));
  const addresses = textAt(values, 5)
    .split(" ")
    .filter((address) => address !== "");
  if (!isValidName(owner.containerId) || device === null || inode === null || timeMs === null) return null;
  const path = netns.slice(2).join(" ");
  return { owner, netns: { path, device, inode }, boot: textAt(values, 3), timeMs, addresses };
}

function wholeNumber(text: string): number | null {
  const negative = text.startsWith("-");
  const digits = negative ? text.slice(1) : text;
  if (digits.length > 15 || !isDigits(digits)) return null;
  return negative ? -parseInt(digits, 10) : parseInt(digits, 10);
}
