/**
 * XML of a device as a tree: strict, without entities of its own, bounded in depth and size.
 *
 * @module
 */
import { SaxesParser } from "saxes";

/** An element. Names are without prefix: the namespaces of devices carry their versions. */
export interface XmlElement {
  readonly name: string;
  readonly attributes: Readonly<Record<string, string>>;
  readonly children: XmlElement[];
  /** Its own text, without that of its children. */
  text: string;
}

const DEEPEST = 64;

/**
 * Reads a document.
 *
 * @throws {SyntaxError} with line and column, when it is not well-formed, too deep, or declares entities.
 */
export function parseXml(text: string): XmlElement {
  const parser = new SaxesParser();
  const root: XmlElement = { name: "", attributes: {}, children: [], text: "" };
  const stack: XmlElement[] = [root];
  const at = () => `line ${parser.line}, column ${parser.column}`;
  parser.on("error", (error) => {
    throw new SyntaxError(`Cannot read XML: ${error.message}`);
  });
  parser.on("doctype", () => {
    throw new SyntaxError(`Cannot read XML: it has a document type, ${at()}`);
  });
  parser.on("opentag", (tag) => {
    if (stack.length > DEEPEST) throw new SyntaxError(`Cannot read XML: it is too deep, ${at()}`);
    const element: XmlElement = {
      name: tag.name.slice(tag.name.indexOf(":") + 1),
      attributes: tag.attributes as Record<string, string>,
      children: [],
      text: "",
    };
    stack.at(-1)?.children.push(element);
    stack.push(element);
  });
  const add = (more: string) => void ((stack.at(-1) as XmlElement).text += more);
  parser.on("text", add);
  parser.on("cdata", add);
  parser.on("closetag", () => void stack.pop());
  parser.write(text.trim()).close();
  const [document] = root.children;
  if (document === undefined) throw new SyntaxError("Cannot read XML: there is no element");
  return document;
}

/** All elements of a name below an element, in order. */
export function elements(within: XmlElement, name: string): XmlElement[] {
  return within.children.flatMap((child) => [
    ...(child.name === name ? [child] : []),
    ...elements(child, name),
  ]);
}

/** The text of the first element of a name below an element, trimmed; undefined without one. */
export function textOf(within: XmlElement, name: string): string | undefined {
  return elements(within, name)[0]?.text.trim();
}

/** Text as it stands in XML. */
export function escapeXml(text: string): string {
  return text.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;");
}
