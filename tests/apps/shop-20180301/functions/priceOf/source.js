exports = (item) => ({ item, cents: 250 });
