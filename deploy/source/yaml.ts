/** Objects as YAML with comments. */
import { Document, isMap, isScalar, Scalar } from "yaml";

/** A comment before a member: where that is, and the lines. */
export type Comment = readonly [path: readonly (string | number)[], text: string];

/** An object as one YAML document. @throws Error if a comment is about a member that does not exist */
export function yamlOf(object: object, comments: readonly Comment[] = []): string {
  const document = new Document(object, { aliasDuplicateObjects: false });
  for (const [path, text] of comments) {
    const name = path.at(-1);
    const parent = path.length === 1 ? document.contents : document.getIn(path.slice(0, -1));
    const pair = isMap(parent) ? parent.items.find(({ key }) => isScalar(key) && key.value === name) : undefined;
    if (pair === undefined || !isScalar(pair.key)) throw new Error(`there is no ${path.join(".")} to comment on`);
    pair.key.commentBefore = commentOf(text);
  }
  return document.toString({ lineWidth: 0, blockQuote: "literal", defaultStringType: Scalar.PLAIN });
}

/** Documents in one file. */
export function yamlFile(title: string, documents: readonly string[]): string {
  return `${titleOf(title)}${documents.join("---\n")}`;
}

function titleOf(title: string): string {
  return title
    .split("\n")
    .map((line) => (line === "" ? "#\n" : `# ${line}\n`))
    .join("");
}

function commentOf(text: string): string {
  return text
    .split("\n")
    .map((line) => ` ${line}`)
    .join("\n");
}
