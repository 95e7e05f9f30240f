/** A bar chart of the first figure of every scenario as SVG, without any library. Each scenario has its own scale. */
import { figure, oursIn, type Row } from './summary.ts'

const WIDTH = 860
const LABEL_WIDTH = 120
const VALUE_WIDTH = 150
const BAR_HEIGHT = 16
const BAR_GAP = 4
const TITLE_HEIGHT = 26
const SCENARIO_GAP = 14
const MARGIN = 16
const OUR_COLOUR = '#0b6e99'
const PEER_COLOUR = '#9aa7b1'

export function chart(rows: readonly Row[], caption: string): string {
  const parts: string[] = []
  let y = MARGIN
  parts.push(label(MARGIN, y + 12, caption, 13, '#57606a'))
  y += TITLE_HEIGHT
  for (const row of rows) {
    if (row.metric !== row.scenario.metrics[0]) continue
    const cells = row.cells.filter((cell) => cell.value !== null)
    const most = Math.max(...cells.map((cell) => cell.value!))
    if (!(most > 0)) continue
    const { name, unit, better } = row.metric
    const figureName = `${name}, ${unit}${better === 'lower' ? ' (less is better)' : ''}`
    parts.push(label(MARGIN, y + 14, `${row.scenario.title} · ${figureName}`, 13, '#1f2328', 'bold'))
    y += TITLE_HEIGHT
    for (const cell of cells) {
      const room = WIDTH - 2 * MARGIN - LABEL_WIDTH - VALUE_WIDTH
      const width = Math.max(1, (Math.max(0, cell.value!) / most) * room)
      const colour = cell.peer === oursIn(row.scenario) ? OUR_COLOUR : PEER_COLOUR
      const middle = y + BAR_HEIGHT - 4
      const ratio = cell.advantage === null ? '' : `  (× ${cell.advantage.toFixed(1)})`
      const x = MARGIN + LABEL_WIDTH
      parts.push(label(MARGIN, middle, cell.peer, 12, '#1f2328'))
      parts.push(`<rect x="${x}" y="${y}" width="${width.toFixed(1)}" height="${BAR_HEIGHT}" rx="2" fill="${colour}"/>`)
      parts.push(label(x + width + 6, middle, `${figure(cell.value!)}${ratio}`, 12, '#1f2328'))
      y += BAR_HEIGHT + BAR_GAP
    }
    y += SCENARIO_GAP
  }
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${y}" width="${WIDTH}" height="${y}"`,
    ` font-family="system-ui, sans-serif" role="img"><title>${escapeXml(caption)}</title>`,
    `<rect width="100%" height="100%" fill="#ffffff"/>`,
    ...parts,
    '</svg>\n',
  ].join('\n')
}

function label(x: number, y: number, text: string, size: number, colour: string, weight = 'normal'): string {
  const place = `x="${x.toFixed(1)}" y="${y}" font-size="${size}" font-weight="${weight}" fill="${colour}"`
  return `<text ${place}>${escapeXml(text)}</text>`
}

function escapeXml(text: string): string {
  return text.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;')
}
