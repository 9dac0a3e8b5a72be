# objects.rb - objects, hashes, strings and arrays, as a web application makes them

Order = Struct.new(:id, :customer, :lines)

orders = (0...40_000).map do |i|
  Order.new(i, "customer #{i % 997}", (0..(i % 4)).map { |j| ["item #{j}", (i * j) % 100] })
end
by_customer = orders.group_by(&:customer)
report = by_customer.map do |customer, list|
  total = list.sum { |order| order.lines.sum { |_, price| price } }
  format('%s;%d;%d', customer, list.size, total)
end
text = report.sort.join("\n")
20.times { text = text.gsub('customer', 'Customer').gsub('Customer', 'customer') }
puts text.size, text.sum
