//! The grid: a first row of numbers, then titled rows of panels.

use super::model::{GridPos, Item, Panel, Row};

/// Columns of the grid.
const COLUMNS: u32 = 24;
/// Numbers beside each other at most.
const NUMBERS: usize = 8;
const NUMBER_HEIGHT: u32 = 4;
const PANEL_HEIGHT: u32 = 8;
/// Rows that begin behind this many panels are collapsed, so that they load when opened.
const OPEN: usize = 12;

/// A titled row.
pub(super) struct Section {
    pub(super) title: String,
    pub(super) panels: Vec<Panel>,
}

/// Gives every panel its place and its id.
pub(super) fn grid(numbers: Vec<Panel>, sections: Vec<Section>, collapse: bool) -> Vec<Item> {
    let mut items = Vec::new();
    let mut id = 0;
    let mut next = || {
        id += 1;
        id
    };
    let mut y = 0;
    for (mut panel, place) in place(numbers, NUMBERS, NUMBER_HEIGHT, &mut y) {
        (panel.id, panel.grid_pos) = (next(), place);
        items.push(Item::Panel(Box::new(panel)));
    }
    let mut before = 0;
    for section in sections {
        if section.panels.is_empty() {
            continue;
        }
        let collapsed = collapse && before >= OPEN;
        before += section.panels.len();
        let mut row = Row {
            id: next(),
            kind: "row",
            title: section.title,
            grid_pos: GridPos {
                x: 0,
                y,
                w: COLUMNS,
                h: 1,
            },
            collapsed,
            panels: Vec::new(),
        };
        y += 1;
        // What a collapsed row hides takes no room; opened, it pushes the rows below down.
        let mut inside = y;
        let mut shown = Vec::new();
        for (mut panel, place) in place(section.panels, 3, PANEL_HEIGHT, &mut inside) {
            (panel.id, panel.grid_pos) = (next(), place);
            shown.push(panel);
        }
        if collapsed {
            row.panels = shown;
            items.push(Item::Row(row));
        } else {
            y = inside;
            items.push(Item::Row(row));
            items.extend(shown.into_iter().map(|panel| Item::Panel(Box::new(panel))));
        }
    }
    items
}

/// Lines of `most` panels at most, filled evenly: of four, two and two.
fn place(panels: Vec<Panel>, most: usize, height: u32, y: &mut u32) -> Vec<(Panel, GridPos)> {
    let mut left = panels.len();
    let mut lines = left.div_ceil(most);
    let mut placed = Vec::with_capacity(left);
    let mut panels = panels.into_iter();
    while lines > 0 {
        let count = left.div_ceil(lines);
        // At most `most`, which is small.
        let share = COLUMNS / u32::try_from(count).unwrap_or(COLUMNS).max(1);
        let mut x = 0;
        for (index, panel) in panels.by_ref().take(count).enumerate() {
            let w = if index + 1 == count {
                COLUMNS - x
            } else {
                share
            };
            placed.push((
                panel,
                GridPos {
                    x,
                    y: *y,
                    w,
                    h: height,
                },
            ));
            x += w;
        }
        *y += height;
        left -= count;
        lines -= 1;
    }
    placed
}
