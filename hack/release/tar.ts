/** Tar archives that depend on nothing but what is put in: POSIX ustar, owned by root, in the order given, one date. */

/** One member. Names have at most 100 bytes; directories end in "/". */
export interface Member {
  readonly name: string;
  readonly mode: number;
  /** A file's content. */
  readonly data?: Uint8Array;
  /** For a hard link: the name of the member it is another name of. */
  readonly link?: string;
}

/** POSIX.1-1988, "ustar Interchange Format": typeflags. */
const FILE = "0";
const HARD_LINK = "1";
const DIRECTORY = "5";

const BLOCK = 512;

/** @param mtime of all members, in seconds since 1970 */
export function tar(members: readonly Member[], mtime: number): Buffer {
  const blocks: Buffer[] = [];
  for (const member of members) {
    const data = Buffer.from(member.data ?? []);
    blocks.push(header(member, data.length, mtime), data, Buffer.alloc((BLOCK - (data.length % BLOCK)) % BLOCK));
  }
  return Buffer.concat([...blocks, Buffer.alloc(2 * BLOCK)]);
}

function header(member: Member, size: number, mtime: number): Buffer {
  const { name, link = "" } = member;
  if (Buffer.byteLength(name) > 100 || Buffer.byteLength(link) > 100) throw new Error(`too long for ustar: ${name}`);
  const block = Buffer.alloc(BLOCK);
  const octal = (value: number, at: number, length: number) =>
    block.write(`${value.toString(8).padStart(length - 1, "0")}\0`, at, "latin1");
  block.write(name, 0, "utf8");
  octal(member.mode, 100, 8);
  octal(0, 108, 8);
  octal(0, 116, 8);
  octal(size, 124, 12);
  octal(mtime, 136, 12);
  block.write("        ", 148, "latin1");
  block.write(link !== "" ? HARD_LINK : name.endsWith("/") ? DIRECTORY : FILE, 156, "latin1");
  block.write(link, 157, "utf8");
  block.write("ustar\u000000", 257, "latin1");
  const sum = block.reduce((total, byte) => total + byte, 0);
  block.write(`${sum.toString(8).padStart(6, "0")}\0 `, 148, "latin1");
  return block;
}
