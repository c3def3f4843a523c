/** Sets of nf_tables whose elements are IP addresses, by the thousand: as words of an Int32Array. */
import { ADDRESS_WORDS, isIpv4At, putIpv4 } from "../../ip/words.ts";
import { AttributeReader, NLM_F_CREATE } from "../codec.ts";
import { type NetlinkSocket, writeNetfilterHeader } from "../socket.ts";
import {
  NFT_MSG_DELSETELEM,
  NFT_MSG_NEWSETELEM,
  NFTA_LIST_ELEM,
  NFTA_SET_ELEM_KEY,
  NFTA_SET_ELEM_LIST_ELEMENTS,
  NFTA_SET_ELEM_LIST_SET,
  NFTA_SET_ELEM_LIST_TABLE,
} from "./attributes.ts";
import type { NftSet } from "./objects.ts";
import { dumpElements } from "./queries.ts";

const NFTA_DATA_VALUE = 1;
/** struct nfgenmsg. */
const HEADER_LENGTH = 4;
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
  dumpElements(
    socket,
    set,
    (message) => {
      const attributes = new AttributeReader(message.body, HEADER_LENGTH);
      while (attributes.next()) {
        if (attributes.type !== NFTA_SET_ELEM_LIST_ELEMENTS) continue;
        const elements = attributes.nested();
        while (elements.next()) readElement(elements.nested(), list);
      }
    },
    () => {
      list.count = before;
    },
  );
}

function readElement(attributes: AttributeReader, list: Addresses): void {
  while (attributes.next()) {
    if (attributes.type !== NFTA_SET_ELEM_KEY) continue;
    const key = attributes.nested();
    while (key.next()) {
      if (key.type === NFTA_DATA_VALUE) addAddress(key, list);
    }
  }
}

function addAddress(value: AttributeReader, list: Addresses): void {
  const at = list.count * ADDRESS_WORDS;
  if (at + ADDRESS_WORDS > list.words.length) {
    const larger = new Int32Array(list.words.length * 2 + 64);
    larger.set(list.words);
    list.words = larger;
  }
  if (value.length === 4) putIpv4(list.words, at, value.wordAt(0));
  else for (let i = 0; i < ADDRESS_WORDS; i += 1) list.words[at + i] = value.wordAt(i * 4);
  list.count += 1;
}

/** Adds those addresses of a list to a set, or with `away` deletes them from it, that are of its family. */
export function writeAddresses(
  socket: NetlinkSocket,
  set: NftSet,
  isIpv4: boolean,
  list: Addresses,
  away: boolean,
): void {
  const width = isIpv4 ? 1 : ADDRESS_WORDS;
  let row = 0;
  while (row < list.count) {
    while (row < list.count && isIpv4At(list.words, row * ADDRESS_WORDS) !== isIpv4) row += 1;
    if (row === list.count) return;
    const writer = socket.request(away ? NFT_MSG_DELSETELEM : NFT_MSG_NEWSETELEM, away ? 0 : NLM_F_CREATE);
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
