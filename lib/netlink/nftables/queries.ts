/** Reading the objects of nf_tables. Queries for several objects may go in one send: `writeGet...`, then `NetlinkSocket.exchange`. */
import type { MessageWriter } from "../message-writer.ts";
import { writeNetfilterHeader } from "../netfilter.ts";
import type { NetlinkSocket } from "../socket.ts";
import {
  NFT_MSG_GETCHAIN,
  NFT_MSG_GETRULE,
  NFT_MSG_GETSETELEM,
  NFT_MSG_GETTABLE,
  NFTA_CHAIN_NAME,
  NFTA_CHAIN_TABLE,
  NFTA_RULE_CHAIN,
  NFTA_RULE_TABLE,
  NFTA_SET_ELEM_LIST_ELEMENTS,
  NFTA_SET_ELEM_LIST_SET,
  NFTA_SET_ELEM_LIST_TABLE,
  NFTA_TABLE_NAME,
} from "./attributes.ts";
import { decodeElements, decodeRule, decodeRuleHead } from "./decode.ts";
import { writeElementKey } from "./messages.ts";
import type { Element, NftSet, Rule } from "./objects.ts";

/** Writes a query for a table; `decodeTable` reads the answer. Refused with ENOENT if there is none. */
export function writeGetTable(socket: NetlinkSocket, family: number, table: string): void {
  const writer = socket.query(NFT_MSG_GETTABLE);
  writeNetfilterHeader(writer, family, 0);
  writer.attributeText(NFTA_TABLE_NAME, table);
  writer.end();
}

/** Writes a query for a chain; `decodeChain` reads the answer. Refused with ENOENT if it or its table is missing. */
export function writeGetChain(socket: NetlinkSocket, family: number, table: string, chain: string): void {
  const writer = socket.query(NFT_MSG_GETCHAIN);
  writeNetfilterHeader(writer, family, 0);
  writer.attributeText(NFTA_CHAIN_TABLE, table);
  writer.attributeText(NFTA_CHAIN_NAME, chain);
  writer.end();
}

/** Writes a query for an element; `decodeElements` reads the answer. Refused with ENOENT if it, its set or table is missing. */
export function writeGetElement(socket: NetlinkSocket, set: NftSet, key: Uint8Array): void {
  const writer = socket.query(NFT_MSG_GETSETELEM);
  writeNetfilterHeader(writer, set.family, 0);
  writer.attributeText(NFTA_SET_ELEM_LIST_TABLE, set.table);
  writer.attributeText(NFTA_SET_ELEM_LIST_SET, set.name);
  const list = writer.beginNested(NFTA_SET_ELEM_LIST_ELEMENTS);
  writeElementKey(writer, key);
  writer.endNested(list);
  writer.end();
}

/**
 * The rules of a chain in order, or of all chains of the table for ""; none if it is missing: `nft list chain`, `nft list table`.
 * @param whole whether their expressions are read, which is most of the work; otherwise they are empty
 * @throws NetlinkError
 */
export function listRules(socket: NetlinkSocket, family: number, table: string, chain: string, whole: boolean): Rule[] {
  const writer = socket.dump(NFT_MSG_GETRULE);
  writeNetfilterHeader(writer, family, 0);
  writer.attributeText(NFTA_RULE_TABLE, table);
  if (chain !== "") writer.attributeText(NFTA_RULE_CHAIN, chain);
  writer.end();
  let rules: Rule[] = [];
  socket.listEach(
    ({ body }) => {
      rules.push(whole ? decodeRule(body) : decodeRuleHead(body));
    },
    () => {
      rules = [];
    },
  );
  return rules;
}

/** The elements of a set in no particular order. @throws NetlinkError; ENOENT if the set or the table is missing */
export function listElements(socket: NetlinkSocket, set: NftSet): Element[] {
  writeSet(socket.dump(NFT_MSG_GETSETELEM), set);
  let elements: Element[] = [];
  socket.listEach(
    ({ body }) => {
      for (const element of decodeElements(body)) elements.push(element);
    },
    () => {
      elements = [];
    },
  );
  return elements;
}

/** Completes a request for the elements of a set. */
export function writeSet(writer: MessageWriter, set: NftSet): void {
  writeNetfilterHeader(writer, set.family, 0);
  writer.attributeText(NFTA_SET_ELEM_LIST_TABLE, set.table);
  writer.attributeText(NFTA_SET_ELEM_LIST_SET, set.name);
  writer.end();
}
