/** Elements of sets and maps in nft's notation. Pure. */
import { textAt } from "../lists.ts";
import {
  type Element,
  NFT_GOTO,
  NFT_JUMP,
  type NftSet,
  TYPE_VERDICT,
  type Verdict,
} from "../netlink/nftables/objects.ts";
import { clip } from "../text.ts";
import { decodeValues, encodeValues, LanguageError, symbolName, symbolValue, VERDICTS } from "./values.ts";

/**
 * The element of a set.
 * @param key "10.1.0.5 . tcp . 8080"
 * @param data of a map: "10.1.0.5 . 80", "goto masquerade-net"; "" for a plain set
 * @throws LanguageError
 */
export function elementOf(set: NftSet, key: string, data: string, comment: string): Element {
  const verdicts = set.data[0]?.type === TYPE_VERDICT;
  return {
    key: encodeValues(set.key, key),
    data: set.data.length === 0 || verdicts ? null : encodeValues(set.data, data),
    verdict: verdicts ? parseVerdict(data) : null,
    comment,
  };
}

/** The data of an element in nft's notation; "" in a plain set. */
export function formatData(set: NftSet, element: Element): string {
  if (element.verdict !== null) return formatVerdict(element.verdict);
  return element.data === null ? "" : decodeValues(set.data, element.data);
}

/** Reads "drop", "goto chain". @throws LanguageError */
export function parseVerdict(text: string): Verdict {
  const words = text.split(" ");
  const code = symbolValue(VERDICTS, textAt(words, 0));
  const chain = textAt(words, 1);
  if (code === null || words.length > 2 || (chain === "") === (code === NFT_JUMP || code === NFT_GOTO)) {
    throw new LanguageError(`"${clip(text)}" is no verdict`, "expected accept, drop, return, jump or goto and a chain");
  }
  return { code, chain };
}

/** A verdict in nft's notation. */
export function formatVerdict(verdict: Verdict): string {
  const name = symbolName(VERDICTS, verdict.code);
  return verdict.chain === "" ? name : `${name} ${verdict.chain}`;
}
