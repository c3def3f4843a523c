/** Reading the objects of nf_tables. Several single questions may go in one send: the `writeGet` functions and `executeAll`. */
import { ENOENT } from "../../sys/errno.ts";
import { AttributeReader } from "../codec.ts";
import { NetlinkError, type NetlinkSocket, writeNetfilterHeader } from "../socket.ts";
import {
  NFT_MSG_GETCHAIN,
  NFT_MSG_GETGEN,
  NFT_MSG_GETRULE,
  NFT_MSG_GETSETELEM,
  NFT_MSG_GETTABLE,
  NFTA_CHAIN_NAME,
  NFTA_CHAIN_TABLE,
  NFTA_GEN_ID,
  NFTA_RULE_CHAIN,
  NFTA_RULE_TABLE,
  NFTA_SET_ELEM_LIST_ELEMENTS,
  NFTA_SET_ELEM_LIST_SET,
  NFTA_SET_ELEM_LIST_TABLE,
  NFTA_TABLE_NAME,
} from "./attributes.ts";
import { decodeChain, decodeElements, decodeRule, decodeRuleHead, decodeTable } from "./decode.ts";
import { writeElementKey } from "./messages.ts";
import type { Chain, Element, NftSet, Rule, Table } from "./objects.ts";

/** Writes a question for a table; `decodeTable` reads the answer, ENOENT says that there is none. */
export function writeGetTable(socket: NetlinkSocket, family: number, table: string): void {
  const writer = socket.query(NFT_MSG_GETTABLE);
  writeNetfilterHeader(writer, family, 0);
  writer.attributeText(NFTA_TABLE_NAME, table);
  writer.end();
}

/** Writes a question for a chain; `decodeChain` reads the answer, ENOENT says that there is none or no such table. */
export function writeGetChain(socket: NetlinkSocket, family: number, table: string, chain: string): void {
  const writer = socket.query(NFT_MSG_GETCHAIN);
  writeNetfilterHeader(writer, family, 0);
  writer.attributeText(NFTA_CHAIN_TABLE, table);
  writer.attributeText(NFTA_CHAIN_NAME, chain);
  writer.end();
}

/** Writes a question for an element; `decodeElements` reads the answer, ENOENT says that it, its set or table is missing. */
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

/** The table, or null if there is none. @throws NetlinkError */
export function getTable(socket: NetlinkSocket, family: number, table: string): Table | null {
  let found: Table | null = null;
  writeGetTable(socket, family, table);
  refuse(
    socket.executeAll((message) => {
      found = decodeTable(message.body);
    }),
  );
  return found;
}

/** The chain, or null if there is none or no such table. @throws NetlinkError */
export function getChain(socket: NetlinkSocket, family: number, table: string, chain: string): Chain | null {
  let found: Chain | null = null;
  writeGetChain(socket, family, table, chain);
  refuse(
    socket.executeAll((message) => {
      found = decodeChain(message.body);
    }),
  );
  return found;
}

/** The element, or null if it, the set or the table is missing. @throws NetlinkError */
export function getElement(socket: NetlinkSocket, set: NftSet, key: Uint8Array): Element | null {
  let found: Element | null = null;
  writeGetElement(socket, set, key);
  refuse(
    socket.executeAll((message) => {
      for (const element of decodeElements(message.body)) found = element;
    }),
  );
  return found;
}

/** The number of the ruleset's generation in this namespace, for `beginBatch`; each change counts it up. @throws NetlinkError */
export function getGeneration(socket: NetlinkSocket): number {
  let generation = 0;
  const writer = socket.query(NFT_MSG_GETGEN);
  writeNetfilterHeader(writer, 0, 0);
  writer.end();
  refuse(
    socket.executeAll((message) => {
      const attributes = new AttributeReader(message.body, 4);
      while (attributes.next()) {
        if (attributes.type === NFTA_GEN_ID) generation = attributes.be32();
      }
    }),
  );
  return generation;
}

/** The tables of a family, or of all for 0. @throws NetlinkError */
export function listTables(socket: NetlinkSocket, family: number): Table[] {
  let tables: Table[] = [];
  socket.dump(
    NFT_MSG_GETTABLE,
    (writer) => {
      writeNetfilterHeader(writer, family, 0);
      writer.end();
    },
    (message) => {
      tables.push(decodeTable(message.body));
    },
    () => {
      tables = [];
    },
  );
  return tables;
}

/** The chains of a table; none if it is missing. @throws NetlinkError */
export function listChains(socket: NetlinkSocket, family: number, table: string): Chain[] {
  let chains: Chain[] = [];
  socket.dump(
    NFT_MSG_GETCHAIN,
    (writer) => {
      writeNetfilterHeader(writer, family, 0);
      writer.end();
    },
    (message) => {
      /* The kernel knows no other filter than the family. */
      const chain = decodeChain(message.body);
      if (chain.table === table) chains.push(chain);
    },
    () => {
      chains = [];
    },
  );
  return chains;
}

/**
 * The rules of a chain in order, or of all chains of the table for ""; none if it is missing.
 * @param whole whether their expressions are read, which is nearly all the work; otherwise they are left empty
 * @throws NetlinkError
 */
export function listRules(socket: NetlinkSocket, family: number, table: string, chain: string, whole: boolean): Rule[] {
  let rules: Rule[] = [];
  socket.dump(
    NFT_MSG_GETRULE,
    (writer) => {
      writeNetfilterHeader(writer, family, 0);
      writer.attributeText(NFTA_RULE_TABLE, table);
      if (chain !== "") writer.attributeText(NFTA_RULE_CHAIN, chain);
      writer.end();
    },
    (message) => {
      rules.push(whole ? decodeRule(message.body) : decodeRuleHead(message.body));
    },
    () => {
      rules = [];
    },
  );
  return rules;
}

/** The elements of a set in no particular order. @throws NetlinkError; ENOENT if the set or the table is missing */
export function listElements(socket: NetlinkSocket, set: NftSet): Element[] {
  let elements: Element[] = [];
  socket.dump(
    NFT_MSG_GETSETELEM,
    (writer) => {
      writeNetfilterHeader(writer, set.family, 0);
      writer.attributeText(NFTA_SET_ELEM_LIST_TABLE, set.table);
      writer.attributeText(NFTA_SET_ELEM_LIST_SET, set.name);
      writer.end();
    },
    (message) => {
      for (const element of decodeElements(message.body)) elements.push(element);
    },
    () => {
      elements = [];
    },
  );
  return elements;
}

/** Throws what a question was answered with unless that is success or ENOENT. */
function refuse(errors: readonly number[]): void {
  for (let i = 0; i < errors.length; i += 1) {
    const errno = errors[i] ?? 0;
    if (errno !== 0 && errno !== ENOENT) throw new NetlinkError(errno, "", i);
  }
}
