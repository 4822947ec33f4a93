// The little Markdown that answers are written in, as elements. Everything else is text: no markup gets through.

const make = (tag, ...children) => {
  const element = document.createElement(tag);
  element.append(...children);
  return element;
};

const INLINE = /`([^`]+)`|\*\*(.+?)\*\*|\*(\S(?:.*?\S)?)\*|\[([^\]]+)\]\((https?:\/\/[^\s)]+)\)/;

function inline(text) {
  const found = INLINE.exec(text);
  if (!found) return [text];
  const [all, code, bold, emphasis, name, address] = found;
  const element =
    code ? make('code', code) : bold ? make('strong', ...inline(bold)) : emphasis ? make('em', ...inline(emphasis)) : link(name, address);
  return [text.slice(0, found.index), element, ...inline(text.slice(found.index + all.length))];
}

function link(name, address) {
  return Object.assign(make('a', name), { href: address, target: '_blank', rel: 'noopener noreferrer' });
}

const BULLET = /^\s*[-*]\s+/;
const NUMBER = /^\s*\d+[.)]\s+/;

function block(text) {
  const lines = text.split('\n');
  for (const [mark, tag] of [[BULLET, 'ul'], [NUMBER, 'ol']]) {
    if (lines.every(line => mark.test(line))) {
      return make(tag, ...lines.map(line => make('li', ...inline(line.replace(mark, '')))));
    }
  }
  if (lines.every(line => line.startsWith('>'))) return make('blockquote', ...lined(lines.map(line => line.replace(/^>\s?/, ''))));
  if (lines.length === 1 && /^#{1,6}\s/.test(text)) return make('h3', ...inline(text.replace(/^#+\s+/, '')));
  return make('p', ...lined(lines));
}

const lined = lines => lines.flatMap((line, place) => (place ? [make('br'), ...inline(line)] : inline(line)));

export function markdown(text) {
  return text
    .split(/^```.*\n([\s\S]*?)(?:^```\s*$|$(?![\s\S]))/m)
    .flatMap((piece, place) =>
      place % 2
        ? [make('pre', make('code', piece))]
        : piece.split(/\n{2,}/).filter(each => each.trim()).map(each => block(each.replace(/^\n+|\n+$/g, ''))),
    );
}
