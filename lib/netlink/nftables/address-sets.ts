/** Sets of nf_tables whose elements are IP addresses, by the thousand: as words of an Int32Array. */
import { ADDRESS_WORDS, isIpv4At } from "../../ip/words.ts";
import { type Batch, writeNetfilterHeader } from "../netfilter.ts";
import { NLM_F_CREATE } from "../netlink.ts";
import { behindAttribute, behindMessage, HEADER_WORDS, readIpRow, typeOf } from "../rows.ts";
import type { NetlinkSocket } from "../socket.ts";
import {
  NFT_MSG_DELSETELEM,
  NFT_MSG_GETSETELEM,
  NFT_MSG_NEWSETELEM,
  NFTA_LIST_ELEM,
  NFTA_SET_ELEM_KEY,
  NFTA_SET_ELEM_LIST_ELEMENTS,
  NFTA_SET_ELEM_LIST_SET,
  NFTA_SET_ELEM_LIST_TABLE,
} from "./attributes.ts";
import type { NftSet } from "./objects.ts";
import { writeSet } from "./queries.ts";

const NFTA_DATA_VALUE = 1;
/** struct nfgenmsg. */
const NFGENMSG_WORDS = 1;
/** An element takes at most 32 bytes of an attribute, whose length has 16 bits. */
const AT_ONCE = 1500;

/** A growing list of addresses. */
export interface Addresses {
  words: Int32Array;
  count: number;
}

/** Adds the elements of a set to a list; none if the set is missing. @throws NetlinkError */
export function listAddresses(socket: NetlinkSocket, set: NftSet, list: Addresses): void {
  const before = list.count;
  writeSet(socket.dump(NFT_MSG_GETSETELEM), set);
  socket.listRows(
    (words, from, to) => {
      for (let at = from; at < to; ) {
        const next = behindMessage(words, at, to);
        decodeAddresses(words, at + HEADER_WORDS, next, list);
        at = next;
      }
    },
    () => {
      list.count = before;
    },
  );
}

/** Adds the elements that the body of an NFT_MSG_NEWSETELEM message, the words [at, end), tells. @throws NetlinkFormatError */
export function decodeAddresses(words: Int32Array, at: number, end: number, list: Addresses): void {
  for (let next = at + NFGENMSG_WORDS; next < end; ) {
    const attribute = next;
    const head = words[attribute] ?? 0;
    next = behindAttribute(head, attribute, end);
    if (typeOf(head) !== NFTA_SET_ELEM_LIST_ELEMENTS) continue;
    for (let element = attribute + 1; element < next; ) {
      const behind = behindAttribute(words[element] ?? 0, element, next);
      readElement(words, element + 1, behind, list);
      element = behind;
    }
  }
}

/** Elements say their key first, and it holds nothing but its value; both are looked for all the same. */
function readElement(words: Int32Array, at: number, end: number, list: Addresses): void {
  for (let next = at; next < end; ) {
    const attribute = next;
    const head = words[attribute] ?? 0;
    next = behindAttribute(head, attribute, end);
    if (typeOf(head) === NFTA_SET_ELEM_KEY) readKey(words, attribute + 1, next, list);
  }
}

function readKey(words: Int32Array, at: number, end: number, list: Addresses): void {
  for (let next = at; next < end; ) {
    const attribute = next;
    const head = words[attribute] ?? 0;
    next = behindAttribute(head, attribute, end);
    if (typeOf(head) !== NFTA_DATA_VALUE) continue;
    const target = list.count * ADDRESS_WORDS;
    if (target + ADDRESS_WORDS > list.words.length) {
      const larger = new Int32Array(list.words.length * 2 + 64);
      larger.set(list.words);
      list.words = larger;
    }
    if (readIpRow(words, attribute, list.words, target)) list.count += 1;
  }
}

/** Adds those addresses of a list to a set, or with `away` deletes them from it, that are of its family. */
export function writeAddresses(batch: Batch, set: NftSet, isIpv4: boolean, list: Addresses, away: boolean): void {
  const width = isIpv4 ? 1 : ADDRESS_WORDS;
  let row = 0;
  while (row < list.count) {
    while (row < list.count && isIpv4At(list.words, row * ADDRESS_WORDS) !== isIpv4) row += 1;
    if (row === list.count) return;
    const writer = batch.request(away ? NFT_MSG_DELSETELEM : NFT_MSG_NEWSETELEM, away ? 0 : NLM_F_CREATE);
    writeNetfilterHeader(writer, set.family, 0);
    writer.attributeText(NFTA_SET_ELEM_LIST_TABLE, set.table);
    writer.attributeText(NFTA_SET_ELEM_LIST_SET, set.name);
    const elements = writer.beginNested(NFTA_SET_ELEM_LIST_ELEMENTS);
    for (let count = 0; row < list.count && count < AT_ONCE; row += 1) {
      const at = row * ADDRESS_WORDS;
      if (isIpv4At(list.words, at) !== isIpv4) continue;
      const element = writer.beginNested(NFTA_LIST_ELEM);
      const key = writer.beginNested(NFTA_SET_ELEM_KEY);
      writer.attributeWords(NFTA_DATA_VALUE, list.words, at + ADDRESS_WORDS - width, width);
      writer.endNested(key);
      writer.endNested(element);
      count += 1;
    }
    writer.endNested(elements);
    writer.end();
  }
}
