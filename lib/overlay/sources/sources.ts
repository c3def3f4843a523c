/** All sources of peers, by the options that name them. */
import type { Fields } from "../../cni/fields.ts";
import { clip } from "../../text.ts";
import { DirectorySource } from "./directory.ts";
import { FileSource } from "./file.ts";
import { inlineSource } from "./inline.ts";
import type { PeerSource } from "./source.ts";

const OPTIONS = ["peers", "peersFile", "peersDir"] as const;
type SourceOption = (typeof OPTIONS)[number];

/** The source that the configuration names. @throws CniError 7 if it names none, or two */
export function readSource(fields: Fields): PeerSource {
  let found: SourceOption | null = null;
  for (const option of OPTIONS) {
    if (!fields.has(option)) continue;
    if (found !== null) throw fields.invalid(option, `"${found}" tells already where the peers are`);
    found = option;
  }
  if (found === null)
    throw fields.invalid("peersFile", 'one of "peersFile", "peersDir" and "peers" must tell where the other nodes are');
  return sourceFor(found, fields);
}

function sourceFor(option: SourceOption, fields: Fields): PeerSource {
  switch (option) {
    case "peers":
      return inlineSource(option, fields);
    case "peersFile":
      return new FileSource(option, readPath(fields, option));
    case "peersDir":
      return new DirectorySource(option, readPath(fields, option));
  }
}

function readPath(fields: Fields, option: SourceOption): string {
  const path = fields.string(option, "");
  if (!path.startsWith("/")) throw fields.invalid(option, `"${clip(path)}" is no absolute path`);
  return path;
}
