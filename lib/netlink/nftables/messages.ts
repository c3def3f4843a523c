/**
 * Making and deleting objects of nf_tables. Each function adds requests to a batch, in which later ones may refer by
 * name to what earlier ones make. Deleting what is not there is refused with
 * ENOENT, deleting what something refers to with EBUSY, as is making what exists with other properties (EEXIST or EBUSY).
 */
import type { MessageWriter } from "../message-writer.ts";
import { type Batch, writeNetfilterHeader } from "../netfilter.ts";
import { NLM_F_APPEND, NLM_F_CREATE } from "../netlink.ts";
import {
  NFT_MSG_DELCHAIN,
  NFT_MSG_DELRULE,
  NFT_MSG_DELSET,
  NFT_MSG_DELSETELEM,
  NFT_MSG_DELTABLE,
  NFT_MSG_NEWCHAIN,
  NFT_MSG_NEWRULE,
  NFT_MSG_NEWSET,
  NFT_MSG_NEWSETELEM,
  NFT_MSG_NEWTABLE,
  NFTA_CHAIN_HOOK,
  NFTA_CHAIN_NAME,
  NFTA_CHAIN_POLICY,
  NFTA_CHAIN_TABLE,
  NFTA_CHAIN_TYPE,
  NFTA_HOOK_HOOKNUM,
  NFTA_HOOK_PRIORITY,
  NFTA_LIST_ELEM,
  NFTA_RULE_CHAIN,
  NFTA_RULE_EXPRESSIONS,
  NFTA_RULE_HANDLE,
  NFTA_RULE_TABLE,
  NFTA_RULE_USERDATA,
  NFTA_SET_DATA_LEN,
  NFTA_SET_DATA_TYPE,
  NFTA_SET_ELEM_DATA,
  NFTA_SET_ELEM_KEY,
  NFTA_SET_ELEM_LIST_ELEMENTS,
  NFTA_SET_ELEM_LIST_SET,
  NFTA_SET_ELEM_LIST_TABLE,
  NFTA_SET_ELEM_USERDATA,
  NFTA_SET_FLAGS,
  NFTA_SET_ID,
  NFTA_SET_KEY_LEN,
  NFTA_SET_KEY_TYPE,
  NFTA_SET_NAME,
  NFTA_SET_TABLE,
  NFTA_SET_USERDATA,
  NFTA_TABLE_FLAGS,
  NFTA_TABLE_NAME,
  NFTA_TABLE_USERDATA,
  UDATA_COMMENT,
  UDATA_SET_DATABYTEORDER,
  UDATA_SET_KEYBYTEORDER,
} from "./attributes.ts";
import { writeExpressions, writeValue, writeVerdict } from "./expressions.ts";
import {
  type Chain,
  type Element,
  type Field,
  type NftSet,
  type Rule,
  type Table,
  TYPE_ETHER_ADDR,
  TYPE_IFNAME,
  TYPE_INET_PROTO,
  TYPE_INET_SERVICE,
  TYPE_IPV4_ADDR,
  TYPE_IPV6_ADDR,
  TYPE_MARK,
} from "./objects.ts";

const NFT_SET_MAP = 0x8;
/** An attribute's length has 16 bits; this leaves room for the last element. */
const ELEMENTS_BYTES = 60_000;
/** A user data entry's length has 8 bits, and the terminating NUL counts. */
const COMMENT_BYTES = 254;

/* The orders of bytes as the nft program numbers them (its include/datatype.h). */
const BYTEORDER_INVALID = 0;
const BYTEORDER_HOST_ENDIAN = 1;
const BYTEORDER_BIG_ENDIAN = 2;

/** Adds a table. `flags` may hold NLM_F_EXCL: refuse with EEXIST if it is there; otherwise it then stays as it is. */
export function writeNewTable(batch: Batch, table: Table, flags = 0): void {
  const writer = batch.request(NFT_MSG_NEWTABLE, NLM_F_CREATE | flags);
  writeNetfilterHeader(writer, table.family, 0);
  writer.attributeText(NFTA_TABLE_NAME, table.name);
  writer.attributeBe32(NFTA_TABLE_FLAGS, 0);
  writeComment(writer, NFTA_TABLE_USERDATA, table.comment);
  writer.end();
}

/** Deletes a table with all that is in it. */
export function writeDeleteTable(batch: Batch, family: number, table: string): void {
  const writer = batch.request(NFT_MSG_DELTABLE, 0);
  writeNetfilterHeader(writer, family, 0);
  writer.attributeText(NFTA_TABLE_NAME, table);
  writer.end();
}

/** Adds a chain. `flags` as for tables. */
export function writeNewChain(batch: Batch, chain: Chain, flags = 0): void {
  const writer = batch.request(NFT_MSG_NEWCHAIN, NLM_F_CREATE | flags);
  writeNetfilterHeader(writer, chain.family, 0);
  writer.attributeText(NFTA_CHAIN_TABLE, chain.table);
  writer.attributeText(NFTA_CHAIN_NAME, chain.name);
  const hook = chain.hook;
  if (hook !== null) {
    writer.attributeText(NFTA_CHAIN_TYPE, hook.type);
    writer.attributeBe32(NFTA_CHAIN_POLICY, chain.policy);
    const nested = writer.beginNested(NFTA_CHAIN_HOOK);
    writer.attributeBe32(NFTA_HOOK_HOOKNUM, hook.hook);
    writer.attributeBe32(NFTA_HOOK_PRIORITY, hook.priority);
    writer.endNested(nested);
  }
  writer.end();
}

/** Deletes a chain with its rules, as nobody refers to it. */
export function writeDeleteChain(batch: Batch, family: number, table: string, chain: string): void {
  const writer = batch.request(NFT_MSG_DELCHAIN, 0);
  writeNetfilterHeader(writer, family, 0);
  writer.attributeText(NFTA_CHAIN_TABLE, table);
  writer.attributeText(NFTA_CHAIN_NAME, chain);
  writer.end();
}

/** Adds a set or map, empty. `flags` as for tables. */
export function writeNewSet(batch: Batch, set: NftSet, flags = 0): void {
  const isMap = set.data.length > 0;
  const id = batch.length + 1;
  const writer = batch.request(NFT_MSG_NEWSET, NLM_F_CREATE | flags);
  writeNetfilterHeader(writer, set.family, 0);
  writer.attributeText(NFTA_SET_TABLE, set.table);
  writer.attributeText(NFTA_SET_NAME, set.name);
  writer.attributeBe32(NFTA_SET_FLAGS, isMap ? NFT_SET_MAP : 0);
  writer.attributeBe32(NFTA_SET_KEY_TYPE, typeOf(set.key));
  writer.attributeBe32(NFTA_SET_KEY_LEN, lengthOf(set.key));
  if (isMap) {
    writer.attributeBe32(NFTA_SET_DATA_TYPE, typeOf(set.data));
    writer.attributeBe32(NFTA_SET_DATA_LEN, lengthOf(set.data));
  }
  /* The kernel demands a number that is unique in the batch, for those that cannot name the set. */
  writer.attributeBe32(NFTA_SET_ID, id);
  /* Without the order of bytes nft would print interface names backwards. */
  const orders = isMap
    ? [...byteOrder(UDATA_SET_KEYBYTEORDER, set.key), ...byteOrder(UDATA_SET_DATABYTEORDER, set.data)]
    : byteOrder(UDATA_SET_KEYBYTEORDER, set.key);
  writer.attributeBytes(NFTA_SET_USERDATA, new Uint8Array(orders));
  writer.end();
}

/** Deletes a set with its elements, if no rule refers to it. */
export function writeDeleteSet(batch: Batch, family: number, table: string, set: string): void {
  const writer = batch.request(NFT_MSG_DELSET, 0);
  writeNetfilterHeader(writer, family, 0);
  writer.attributeText(NFTA_SET_TABLE, table);
  writer.attributeText(NFTA_SET_NAME, set);
  writer.end();
}

/**
 * Adds elements to a set, in as many requests as their number needs, and returns how many those are. One that is there with
 * the same data stays as it is, comment included, unless `flags` holds NLM_F_EXCL (then EEXIST); one that is there with
 * other data is refused with EEXIST or EBUSY.
 */
export function writeNewElements(batch: Batch, set: NftSet, elements: readonly Element[], flags = 0): number {
  return writeElements(batch, NFT_MSG_NEWSETELEM, NLM_F_CREATE | flags, set, elements);
}

/**
 * Deletes elements from a set by their keys, in as many requests as needed, and returns how many those are. One that is
 * missing is refused with ENOENT.
 */
export function writeDeleteElements(batch: Batch, set: NftSet, elements: readonly Element[]): number {
  return writeElements(batch, NFT_MSG_DELSETELEM, 0, set, elements);
}

/** Adds a rule at the end of its chain. */
export function writeNewRule(batch: Batch, rule: Rule): void {
  writeRule(batch, rule, NLM_F_APPEND);
}

/** Adds a rule at the beginning of its chain. */
export function writeInsertRule(batch: Batch, rule: Rule): void {
  writeRule(batch, rule, 0);
}

function writeRule(batch: Batch, rule: Rule, flags: number): void {
  const writer = batch.request(NFT_MSG_NEWRULE, NLM_F_CREATE | flags);
  writeNetfilterHeader(writer, rule.family, 0);
  writer.attributeText(NFTA_RULE_TABLE, rule.table);
  writer.attributeText(NFTA_RULE_CHAIN, rule.chain);
  writeExpressions(writer, NFTA_RULE_EXPRESSIONS, rule.expressions);
  writeComment(writer, NFTA_RULE_USERDATA, rule.comment);
  writer.end();
}

/** Deletes the rule of the given handle, or all rules of the chain if that is 0. */
export function writeDeleteRule(batch: Batch, family: number, table: string, chain: string, handle: bigint): void {
  const writer = batch.request(NFT_MSG_DELRULE, 0);
  writeNetfilterHeader(writer, family, 0);
  writer.attributeText(NFTA_RULE_TABLE, table);
  writer.attributeText(NFTA_RULE_CHAIN, chain);
  if (handle !== 0n) writer.attributeBe64(NFTA_RULE_HANDLE, handle);
  writer.end();
}

function writeElements(batch: Batch, type: number, flags: number, set: NftSet, elements: readonly Element[]): number {
  const isDeletion = type === NFT_MSG_DELSETELEM;
  let requests = 0;
  let next = 0;
  while (next < elements.length) {
    const writer = batch.request(type, flags);
    requests += 1;
    writeNetfilterHeader(writer, set.family, 0);
    writer.attributeText(NFTA_SET_ELEM_LIST_TABLE, set.table);
    writer.attributeText(NFTA_SET_ELEM_LIST_SET, set.name);
    const start = writer.length;
    const list = writer.beginNested(NFTA_SET_ELEM_LIST_ELEMENTS);
    while (next < elements.length && writer.length - start < ELEMENTS_BYTES) {
      const element = elements[next];
      next += 1;
      if (element === undefined) continue;
      if (isDeletion) writeElementKey(writer, element.key);
      else writeElement(writer, element);
    }
    writer.endNested(list);
    writer.end();
  }
  return requests;
}

/** Writes an element's key into a list of elements: which one is to be deleted, or is asked for. */
export function writeElementKey(writer: MessageWriter, key: Uint8Array): void {
  const nested = writer.beginNested(NFTA_LIST_ELEM);
  writeValue(writer, NFTA_SET_ELEM_KEY, key);
  writer.endNested(nested);
}

function writeElement(writer: MessageWriter, element: Element): void {
  const nested = writer.beginNested(NFTA_LIST_ELEM);
  writeValue(writer, NFTA_SET_ELEM_KEY, element.key);
  if (element.data !== null) writeValue(writer, NFTA_SET_ELEM_DATA, element.data);
  if (element.verdict !== null) writeVerdict(writer, NFTA_SET_ELEM_DATA, element.verdict);
  writeComment(writer, NFTA_SET_ELEM_USERDATA, element.comment);
  writer.endNested(nested);
}

/** Writes a comment as nft keeps it; no attribute for none. @throws RangeError if it is longer than 254 bytes */
function writeComment(writer: MessageWriter, type: number, comment: string): void {
  if (comment === "") return;
  const text = new TextEncoder().encode(comment);
  if (text.length > COMMENT_BYTES) throw new RangeError(`comment of ${text.length} bytes: "${comment}"`);
  const bytes = new Uint8Array(text.length + 3);
  bytes[0] = UDATA_COMMENT;
  bytes[1] = text.length + 1;
  bytes.set(text, 2);
  writer.attributeBytes(type, bytes);
}

/** The number of a concatenated type is that of its parts, six bits each. */
function typeOf(fields: readonly Field[]): number {
  let type = 0;
  for (const field of fields) type = type * 64 + field.type;
  return type;
}

/** The length of a concatenation in bytes: each part fills registers of four. */
function lengthOf(fields: readonly Field[]): number {
  const only = fields[0];
  if (fields.length === 1 && only !== undefined) return only.length;
  let length = 0;
  for (const field of fields) length += (field.length + 3) & ~3;
  return length;
}

/** An entry of a set's user data: its number, its length, and a number in the machine's order. */
function byteOrder(entry: number, fields: readonly Field[]): number[] {
  const only = fields[0];
  let order = BYTEORDER_INVALID;
  if (fields.length === 1 && only !== undefined) order = byteOrderOf(only.type);
  return [entry, 4, order, 0, 0, 0];
}

function byteOrderOf(type: number): number {
  switch (type) {
    case TYPE_IFNAME:
    case TYPE_MARK:
      return BYTEORDER_HOST_ENDIAN;
    case TYPE_IPV4_ADDR:
    case TYPE_IPV6_ADDR:
    case TYPE_ETHER_ADDR:
    case TYPE_INET_PROTO:
    case TYPE_INET_SERVICE:
      return BYTEORDER_BIG_ENDIAN;
    default:
      return BYTEORDER_INVALID;
  }
}
