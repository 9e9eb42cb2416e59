exports = ({ body }) => ({ ok: 1, length: body.text().length });
